"""Which dataclass holds the config of which kind, imported on use; and what a config file holds of them."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

from brain_diffusion_jax.errors import InputError, nearest

# kind, as config files and run folders say it: dataclass of its config
CONFIGS = {
    "diffusion": "brain_diffusion_jax.tasks.diffusion.config:DiffusionConfig",
    "age": "brain_diffusion_jax.tasks.age.config:AgeConfig",
    "class": "brain_diffusion_jax.tasks.classifier.config:ClassConfig",
    "gan": "brain_diffusion_jax.tasks.gan.config:GanConfig",
}
# What commands read that do not train.
PARTS = {
    "prepare": "brain_diffusion_jax.data.prepare_config:PrepareConfig",
    "cohort": "brain_diffusion_jax.data.prepare_config:CohortConfig",
}


@cache
def config_class(name: str) -> type[Any]:
    """The dataclass of a kind, or of a part of a config that a command reads."""
    known = {**CONFIGS, **PARTS}
    if name not in known:
        raise InputError("config", "kind", name, nearest(name, CONFIGS))
    module, _, dataclass = known[name].partition(":")
    return getattr(import_module(module), dataclass)  # type: ignore[no-any-return]
