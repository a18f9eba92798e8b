"""Configs: defaults from the dataclasses, files with get_config(), run folders, and section.key=value overrides.

A section becomes a typed object at the door (`UNet(**config.model)`, `derive.build`); further down nobody sees a
ConfigDict.
"""

from brain_diffusion_jax.config.defaults import base_config, kind_config, paths
from brain_diffusion_jax.config.derive import build, part
from brain_diffusion_jax.config.load import from_json, load_config, to_json
from brain_diffusion_jax.config.override import apply_overrides

__all__ = [
    "apply_overrides",
    "base_config",
    "build",
    "from_json",
    "kind_config",
    "load_config",
    "part",
    "paths",
    "to_json",
]
