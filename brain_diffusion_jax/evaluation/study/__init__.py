"""The study: matched samples, measured and resumable."""
