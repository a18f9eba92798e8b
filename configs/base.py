"""The defaults of every section; every kind of model trains from it. What a key means stands with its dataclass:
brain_diffusion_jax/tasks/*/config.py for those of a kind, data/prepare_config.py for those of `prepare`."""

from brain_diffusion_jax.config import base_config as get_config

__all__ = ["get_config"]
