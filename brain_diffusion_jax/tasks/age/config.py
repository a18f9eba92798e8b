"""All that the regressor of ages reads of a config."""

from __future__ import annotations

from dataclasses import dataclass, field

from brain_diffusion_jax.models.age_config import AgeNetworkConfig
from brain_diffusion_jax.tasks.age.loss import AgeLoss
from brain_diffusion_jax.tasks.predictor_config import PredictorSettings
from brain_diffusion_jax.tasks.run_config import RunConfig
from brain_diffusion_jax.training.augmentation import Augmentation


@dataclass(frozen=True)
class AgeModel(AgeNetworkConfig, AgeLoss, PredictorSettings):
    """The network, what it learns and how.

    target: a continuous covariate. pretrained: a run folder of kind "age", such as one that `convert keras` wrote,
    whose network is kept.
    early_stopping: validations without a better error (0: off).
    """

    target: str = "age"
    pretrained: str = ""
    augmentation: Augmentation = field(default_factory=Augmentation)
    optimizer: str = "adamw"
    schedule: str = "cosine"
    plateau_factor: float = 0.1
    plateau_patience: int = 5
    clip_norm: float = 1.0
    early_stopping: int = 0


@dataclass(frozen=True)
class AgeConfig(RunConfig):
    """train: what every kind reads of it; the rest is in age_model."""

    age_model: AgeModel = field(default_factory=AgeModel)


CONFIG = AgeConfig
