"""Accept or reject generated images at a stated false-alarm rate."""
