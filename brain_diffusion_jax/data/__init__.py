"""NIfTI in, batches out (numpy only; no networks)."""
