"""Foreign weights to pytrees, and back."""
