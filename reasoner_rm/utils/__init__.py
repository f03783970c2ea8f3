"""What every package may use: seeds, files that are complete or absent, journals."""
