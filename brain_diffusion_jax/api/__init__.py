"""The public Python API: `load(path)` opens a run folder and gives a model; the cli stands on it too."""

from __future__ import annotations

from brain_diffusion_jax.api.loading import load
from brain_diffusion_jax.api.protocols import Generator, Predictor
from brain_diffusion_jax.diffusion.sampling import Sampling
from brain_diffusion_jax.tasks.age.model import AgeModel
from brain_diffusion_jax.tasks.classifier.model import ClassModel
from brain_diffusion_jax.tasks.diffusion.model import DiffusionModel
from brain_diffusion_jax.tasks.gan.model import GanModel

__all__ = ["AgeModel", "ClassModel", "DiffusionModel", "GanModel", "Generator", "Predictor", "Sampling", "load"]
