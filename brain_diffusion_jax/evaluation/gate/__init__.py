"""Accept or reject generated pictures at a stated false-alarm rate."""
