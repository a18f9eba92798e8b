"""The phantom cohort of `brain-diffusion demo`: two axial slices at 4 mm, a small network, minutes on two CPU cores.

Command:  brain-diffusion demo --out runs/demo
Expected: docs/results.md, section "Phantom demo".
"""

from brain_diffusion_jax.config.demo import demo_config as get_config

__all__ = ["get_config"]
