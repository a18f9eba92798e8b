"""Networks only: arrays in, arrays out (flax.linen)."""
