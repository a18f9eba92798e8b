"""Pure steps, and the loop that drives them."""
