"""The mathematics of noise: no networks, no files."""
