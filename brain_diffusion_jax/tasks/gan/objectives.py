"""What the two players of a GAN want, by name: each objective has a dataclass of the settings that it reads.

"wgan-gp": Gulrajani et al. 2017. "lsgan": least squares, Mao et al. 2017. "vae-gan": least squares, and an encoder that
learns from KL and the critic's features, Larsen et al. 2016. The networks of the last two are those of
`models.volume_gan`. All make images and volumes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from brain_diffusion_jax.errors import require
from brain_diffusion_jax.losses.least_squares_gan import VaeGanWeights
from brain_diffusion_jax.models.gan import Gan, GanNetworks, make_gan
from brain_diffusion_jax.models.volume_gan import VolumeGan, VolumeGanConfig, make_volume_gan
from brain_diffusion_jax.tasks.gan import least_squares
from brain_diffusion_jax.tasks.gan.loss import GanSettings, Learning, make_loss, make_measure
from brain_diffusion_jax.training.step import LossFn
from brain_diffusion_jax.training.task import MeasureFn

Images = Float[np.ndarray, "b *spatial c"]


@dataclass(frozen=True)
class Game:
    """Both networks and what they learn from. to_unit: generated images to [0, 1], but for rounding."""

    module: Gan | VolumeGan
    loss: LossFn
    measure: MeasureFn
    to_unit: Callable[[Images], Images]


@dataclass(frozen=True)
class Wasserstein(GanNetworks, GanSettings):
    """Settings of "wgan-gp"."""

    def game(self, shape: tuple[int, ...], cardinalities: tuple[int, ...]) -> Game:
        """For images of `shape`, (*spatial, channels), and the covariates of a schema."""
        gan = make_gan(shape[:-1], cardinalities, self, shape[-1])
        return Game(gan, make_loss(gan, self), make_measure(gan), lambda images: images * 0.5 + 0.5)


@dataclass(frozen=True)
class LeastSquares(VolumeGanConfig, Learning):
    """Settings of "lsgan"."""

    critic_steps: int = 1
    variational: bool = field(default=False, metadata={"config": False})

    def __post_init__(self) -> None:
        VolumeGanConfig.__post_init__(self)
        Learning.__post_init__(self)

    @property
    def weights(self) -> VaeGanWeights | None:
        """Of the terms of a VAE-GAN; None of any other."""
        return None

    def game(self, shape: tuple[int, ...], cardinalities: tuple[int, ...]) -> Game:
        """For images of `shape`, (*spatial, channels), and the covariates of a schema."""
        gan = make_volume_gan(shape[:-1], shape[-1], cardinalities, self)
        loss = least_squares.make_loss(gan, self.critic_steps, self.weights)
        return Game(gan, loss, least_squares.make_measure(gan), lambda images: images)


@dataclass(frozen=True)
class VaeGan(LeastSquares, VaeGanWeights):
    """Settings of "vae-gan"."""

    variational: bool = field(default=True, metadata={"config": False})

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("kl", "features", "adversarial"):
            require(getattr(self, name) >= 0, f"gan.{name}", getattr(self, name), "0 or more")

    @property
    def weights(self) -> VaeGanWeights:
        """Of its terms: the fields that it has of them."""
        return self


Objective = Wasserstein | LeastSquares

OBJECTIVES: dict[str, type[Objective]] = {"wgan-gp": Wasserstein, "lsgan": LeastSquares, "vae-gan": VaeGan}
