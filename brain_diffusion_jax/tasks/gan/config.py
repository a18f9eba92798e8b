"""All that the WGAN-GP baseline reads of a config."""

from __future__ import annotations

from dataclasses import dataclass, field

from brain_diffusion_jax.data.shards.settings import BalancedShards
from brain_diffusion_jax.models.gan import GanNetworks
from brain_diffusion_jax.tasks.gan.loss import GanSettings
from brain_diffusion_jax.tasks.run_config import GeneratorConfig
from brain_diffusion_jax.training.settings import IntervalSettings


@dataclass(frozen=True)
class GanModel(GanNetworks, GanSettings):
    """Both networks and how they learn; a step is one update of the critic."""

    batch_size: int = 64
    num_steps: int = 20_000
    ema_decay: float = 0.999


@dataclass(frozen=True)
class GanConfig(GeneratorConfig):
    """The baseline: its data, networks and training."""

    data: BalancedShards = field(default_factory=BalancedShards)
    gan: GanModel = field(default_factory=GanModel)
    train: IntervalSettings = field(default_factory=IntervalSettings)


CONFIG = GanConfig
