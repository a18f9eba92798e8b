"""All that a GAN reads of a config."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from functools import cached_property

from brain_diffusion_jax import config as configs
from brain_diffusion_jax.data.shards.settings import BalancedShards
from brain_diffusion_jax.errors import InputError, nearest, require_one_of
from brain_diffusion_jax.tasks.gan.objectives import OBJECTIVES, Objective
from brain_diffusion_jax.tasks.run_config import GeneratorConfig
from brain_diffusion_jax.training.settings import IntervalSettings


@dataclass(frozen=True)
class GanTraining:
    """A step is one update of the critic."""

    batch_size: int = 64
    num_steps: int = 20_000
    ema_decay: float = 0.999


@dataclass(frozen=True)
class GanModel(GanTraining):
    """Both networks and how they learn. objective: "wgan-gp", "lsgan" or "vae-gan".

    Every other setting here is the objective's own (`objectives`), with its default there; None: that default. One that
    the objective does not read is refused. Defaults differ: channels are those of the generator, coarsest first.
    """

    objective: str = "wgan-gp"
    channels: tuple[int, ...] | None = None
    critic_channels: tuple[int, ...] | None = None
    latent: int | None = None
    width: int | None = None
    conditional: bool | None = None
    penalty: float | None = None
    kl: float | None = None
    features: float | None = None
    adversarial: float | None = None
    critic_steps: int | None = None
    learning_rate: float | None = None
    betas: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        _ = self.chosen  # refuses what cannot be

    @cached_property
    def chosen(self) -> Objective:
        """The settings of the objective, with what is given."""
        require_one_of(self.objective, OBJECTIVES, "config", "gan.objective")
        declared = OBJECTIVES[self.objective]
        known = configs.section(declared)
        general = ("objective", *(f.name for f in fields(GanTraining)))
        given = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in general}
        own = {}
        for name, value in given.items():
            if value is None:
                continue
            if name not in known:
                found = f"{value!r}, which objective {self.objective!r} does not read"
                raise InputError("config", f"gan.{name}", found, nearest(f"gan.{name}", [f"gan.{n}" for n in known]))
            own[name] = configs.convert(known[name], value, "config", f"gan.{name}")
        return declared(**own)

    def whole(self) -> GanModel:
        """With the objective's defaults where nothing was given."""
        return replace(self, **configs.section(self.chosen).to_dict())


@dataclass(frozen=True)
class GanConfig(GeneratorConfig):
    """The baseline: its data, networks and training."""

    data: BalancedShards = field(default_factory=BalancedShards)
    gan: GanModel = field(default_factory=GanModel)
    train: IntervalSettings = field(default_factory=IntervalSettings)


CONFIG = GanConfig
