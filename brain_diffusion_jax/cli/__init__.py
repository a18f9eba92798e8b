"""One thin file per subcommand of `brain-diffusion`; main.py finds them."""
