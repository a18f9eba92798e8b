"""The explorer: one page with every picture of a grid of conditions, its sliders and its readings."""
