"""All that the classifier reads of a config."""

from __future__ import annotations

from dataclasses import dataclass, field

from brain_diffusion_jax.models.age_config import TrunkConfig
from brain_diffusion_jax.tasks.predictor_config import PredictorSettings
from brain_diffusion_jax.tasks.run_config import RunConfig
from brain_diffusion_jax.training.augmentation import Augmentation


@dataclass(frozen=True)
class ClassModel(TrunkConfig, PredictorSettings):
    """The network, what it learns and how. target: a categorical covariate; "" is the only one."""

    backbone: str = "residual_cnn"
    dropout: float = 0.2
    target: str = ""
    label_smoothing: float = 0.1
    learning_rate: float = 3e-3
    weight_decay: float = 0.05
    batch_size: int = 32
    num_steps: int = 3200
    validate_every: int = 200
    ema_decay: float = 0.99
    augmentation: Augmentation = field(
        default_factory=lambda: Augmentation(
            rotation=8.0, shift=0.045, scale=0.1, gain=0.15, gamma=0.2, noise=0.015, mirror=0.5, shear=0.08
        )
    )


@dataclass(frozen=True)
class ClassConfig(RunConfig):
    """train: what every kind reads of it; the rest is in class_model."""

    class_model: ClassModel = field(default_factory=ClassModel)


CONFIG = ClassConfig
