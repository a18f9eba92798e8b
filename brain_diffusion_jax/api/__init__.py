"""The public Python API: `load(path)` opens a run folder and gives a model; the cli stands on it too."""

from __future__ import annotations

from brain_diffusion_jax.api.diffusion_model import DiffusionModel
from brain_diffusion_jax.api.gan_model import GanModel
from brain_diffusion_jax.api.judges import AgeModel, ClassModel
from brain_diffusion_jax.api.loading import load
from brain_diffusion_jax.api.protocols import Generator, Predictor
from brain_diffusion_jax.diffusion.sampling import Sampling

__all__ = ["AgeModel", "ClassModel", "DiffusionModel", "GanModel", "Generator", "Predictor", "Sampling", "load"]
