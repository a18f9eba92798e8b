"""Prepared examples on disk: writing, reading, loading, and who is trained on."""
