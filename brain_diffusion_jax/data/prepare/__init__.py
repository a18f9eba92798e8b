"""One source item to arrays: reading, resampling, intensities, slices."""
