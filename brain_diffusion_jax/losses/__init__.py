"""Terms of what is minimised: arrays in, a number for each sample or batch out; no network, no noise, no loop."""
