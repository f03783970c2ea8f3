"""What any room may use: seeds, files that are whole or absent, journals."""
