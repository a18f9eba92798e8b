"""Configs: defaults from the dataclasses, files with get_config(), run folders, and section.key=value overrides.

A ConfigDict becomes the frozen dataclass of its kind at the door (`build`); further down nobody sees a ConfigDict.
"""

from brain_diffusion_jax.config.defaults import kind_config, paths
from brain_diffusion_jax.config.derive import build, part, section
from brain_diffusion_jax.config.load import base_config, from_json, load_config, to_json
from brain_diffusion_jax.config.override import apply_overrides, changed, convert

__all__ = [
    "apply_overrides",
    "base_config",
    "build",
    "changed",
    "convert",
    "from_json",
    "kind_config",
    "load_config",
    "part",
    "paths",
    "section",
    "to_json",
]
