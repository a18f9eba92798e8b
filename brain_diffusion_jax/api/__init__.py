"""The public Python API: `load(path)` opens a run folder and gives a model; the cli stands on it too."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from brain_diffusion_jax.api.loading import load
from brain_diffusion_jax.api.protocols import Generator, Predictor
from brain_diffusion_jax.diffusion.sampling import Sampling
from brain_diffusion_jax.tasks.age.model import AgeModel
from brain_diffusion_jax.tasks.autoencoder.model import AutoencoderModel
from brain_diffusion_jax.tasks.classifier.model import ClassModel
from brain_diffusion_jax.tasks.diffusion.model import DiffusionModel
from brain_diffusion_jax.tasks.gan.model import GanModel
from brain_diffusion_jax.tasks.latent_diffusion.model import LatentDiffusionModel

if TYPE_CHECKING:
    from brain_diffusion_jax.api.preparation import prepare
    from brain_diffusion_jax.api.samples import write_samples
    from brain_diffusion_jax.api.studies import study
    from brain_diffusion_jax.evaluation.rich import Pictures
    from brain_diffusion_jax.tasks.train import train

# Imported on use: who opens a model needs no cohort reader and no report.
_LATER = {"prepare": "api.preparation", "study": "api.studies", "train": "tasks.train", "write_samples": "api.samples"}
_LATER |= {"Pictures": "evaluation.rich"}
__all__ = [
    "AgeModel",
    "AutoencoderModel",
    "ClassModel",
    "DiffusionModel",
    "GanModel",
    "Generator",
    "LatentDiffusionModel",
    "Pictures",
    "Predictor",
    "Sampling",
    "load",
    "prepare",
    "study",
    "train",
    "write_samples",
]


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(importlib.import_module(f"brain_diffusion_jax.{_LATER[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
