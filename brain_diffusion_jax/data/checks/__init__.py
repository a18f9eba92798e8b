"""Is this a scan that can be used? Measurements and flags."""
