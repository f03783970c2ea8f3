"""The benchmarks: one file each, published columns in, items out, protocols as data."""
