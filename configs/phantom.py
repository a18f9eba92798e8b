"""The phantom cohort of `brain-diffusion demo`: three axial slices, a small network, minutes on two CPU cores.

Command:  brain-diffusion demo --out runs/demo
Expected: docs/results.md, section "Phantom demo".
"""

from brain_diffusion_jax.cli.demo import demo_config as get_config

__all__ = ["get_config"]
