"""The defaults of every section; see brain_diffusion_jax/config.py for what each key means."""

from brain_diffusion_jax.config import base_config as get_config

__all__ = ["get_config"]
