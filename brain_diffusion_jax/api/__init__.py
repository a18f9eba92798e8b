"""The public Python API: `load(path)` opens a run folder and gives a model; the cli stands on it too."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from brain_diffusion_jax.api.diffusion_model import DiffusionModel
from brain_diffusion_jax.api.gan_model import GanModel
from brain_diffusion_jax.api.judges import AgeModel, ClassModel
from brain_diffusion_jax.api.loading import load
from brain_diffusion_jax.api.protocols import Generator, Predictor
from brain_diffusion_jax.diffusion.sampling import Sampling

if TYPE_CHECKING:
    from brain_diffusion_jax.api.preparation import prepare
    from brain_diffusion_jax.api.samples import write_samples
    from brain_diffusion_jax.api.studies import study

# Imported on use: who opens a model needs no cohort reader and no report.
_LATER = {"prepare": "preparation", "study": "studies", "write_samples": "samples"}
__all__ = [
    "AgeModel",
    "ClassModel",
    "DiffusionModel",
    "GanModel",
    "Generator",
    "Predictor",
    "Sampling",
    "load",
    "prepare",
    "study",
    "write_samples",
]


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(importlib.import_module(f"{__name__}.{_LATER[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
