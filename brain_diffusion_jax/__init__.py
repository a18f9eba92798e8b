"""Conditional diffusion models of brain MRI in JAX. Importing this loads neither jax nor anything heavy."""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"
_MODELS = ("AgeModel", "ClassModel", "DiffusionModel", "GanModel", "Generator", "Pictures", "Predictor", "Sampling")
_API = (*_MODELS, "load", "prepare", "study", "train", "write_samples")
__all__ = [*_API, "__version__"]


def __getattr__(name: str) -> Any:
    if name in _API:
        from brain_diffusion_jax import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
