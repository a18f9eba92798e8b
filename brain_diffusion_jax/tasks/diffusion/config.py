"""All that a diffusion model reads of a config."""

from __future__ import annotations

from dataclasses import dataclass, field

from brain_diffusion_jax.data.shards.settings import BatchedShards
from brain_diffusion_jax.diffusion.process import Process
from brain_diffusion_jax.diffusion.sampling import SamplingSettings
from brain_diffusion_jax.models.conditioning_config import ConditioningConfig
from brain_diffusion_jax.models.unet_config import ModelConfig
from brain_diffusion_jax.tasks.diffusion.loss import LossSettings
from brain_diffusion_jax.tasks.run_config import GeneratorConfig
from brain_diffusion_jax.training.optimizer import OptimizerSettings
from brain_diffusion_jax.training.settings import TrainSettings


@dataclass(frozen=True)
class TrainConfig(TrainSettings, LossSettings):
    """The section `train`: the loop's settings and the loss's."""

    def __post_init__(self) -> None:
        TrainSettings.__post_init__(self)
        LossSettings.__post_init__(self)


@dataclass(frozen=True)
class DiffusionConfig(GeneratorConfig):
    """A diffusion model: its data, network, noise, optimizer, training and use."""

    data: BatchedShards = field(default_factory=BatchedShards)
    model: ModelConfig = field(default_factory=ModelConfig)
    conditioning: ConditioningConfig = field(default_factory=ConditioningConfig)
    diffusion: Process = field(default_factory=Process)
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    train: TrainConfig = field(default_factory=TrainConfig)
    sample: SamplingSettings = field(default_factory=SamplingSettings)


CONFIG = DiffusionConfig
