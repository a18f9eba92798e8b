"""WGAN-GP networks, conditional and not: the baseline that diffusion is measured against.

Generator and critic are those of Gulrajani et al. 2017 (residual-free DCGAN form) with normalisation by
groups in the generator and none in the critic, which the gradient penalty needs. The condition is the same
(values, present) as everywhere; it enters the generator together with z and the critic by projection
(Miyato & Koyama 2018).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.models.conditioning import CovariateTokens, Present, Values
from brain_diffusion_jax.models.layers import (
    Features,
    GroupNorm,
    conv,
    pad_to_multiple,
    space_to_depth,
    upsample_nearest,
)


class ConditionSummary(nn.Module):
    """All covariates as one vector [b, width]; learned nulls where absent."""

    cardinalities: tuple[int, ...]
    width: int

    @nn.compact
    def __call__(self, values: Values, present: Present) -> Float[Array, "b width"]:
        tokens = CovariateTokens(self.cardinalities, self.width, name="tokens")(values, present)
        return nn.Dense(self.width, name="mix")(tokens.reshape(tokens.shape[0], -1))


class Generator(nn.Module):
    """z [b, latent] -> [b, *image_size, out_channels] in (-1, 1), of two or three spatial axes.

    Any size: cropped from the next multiple of 2^levels.
    """

    image_size: tuple[int, ...]
    channels: tuple[int, ...] = (128, 64, 32)
    latent: int = 100
    cardinalities: tuple[int, ...] = ()
    width: int = 64
    out_channels: int = 1

    @nn.compact
    def __call__(self, z: Float[Array, "b latent"], values: Values, present: Present) -> Features:
        if self.cardinalities:
            summary = ConditionSummary(self.cardinalities, self.width, name="condition")(values, present)
            z = jnp.concatenate([z, summary], -1)
        dims, coarsest = len(self.image_size), [-(-n // 2 ** len(self.channels)) for n in self.image_size]
        x = nn.Dense(math.prod(coarsest) * self.channels[0], name="project")(z)
        x = x.reshape(-1, *coarsest, self.channels[0])
        for level, width in enumerate(self.channels):
            x = nn.relu(GroupNorm(8, name=f"norm{level}")(x))
            # Nearest-neighbour upsampling and a convolution: no checkerboard artefacts of transposed convolutions.
            x = conv(width, dims, f"conv{level}")(upsample_nearest(x))
        x = nn.relu(GroupNorm(8, name="norm_out")(x))
        x = jnp.tanh(conv(self.out_channels, dims, "conv_out")(x))
        return x[:, *(slice(n) for n in self.image_size)]


class Critic(nn.Module):
    """[b, *spatial, c] -> score [b], higher for real; any size (edges repeated to the next multiple of 2^levels).

    Halving is by 2x2 (x2) pixels as channels and a 3x3 convolution: a strided one of 6x6 (the original's is 5x5),
    whose second derivatives, which the gradient penalty needs, are plain convolutions.
    """

    channels: tuple[int, ...] = (32, 64, 128)
    cardinalities: tuple[int, ...] = ()

    @nn.compact
    def __call__(self, x: Features, values: Values, present: Present) -> Float[Array, " b"]:
        x, _ = pad_to_multiple(x, 2 ** len(self.channels))
        for level, width in enumerate(self.channels):
            x = nn.leaky_relu(conv(width, x.ndim - 2, f"conv{level}")(space_to_depth(x, 2)), 0.2)
        features = x.reshape(x.shape[0], -1)
        score = nn.Dense(1, name="score")(features)[:, 0]
        if self.cardinalities:
            width = self.channels[-1]
            summary = ConditionSummary(self.cardinalities, width, name="condition")(values, present)
            score = score + jnp.sum(nn.Dense(width, name="projection")(features) * summary, axis=-1) / width**0.5
        return score


class Gan(nn.Module):
    """Both networks; parameters {"generator", "critic"}. Methods `generate` and `criticise`."""

    generator: Generator
    critic: Critic

    def __call__(self, z: Array, values: Values, present: Present) -> Array:
        """Scores of generated images: touches every parameter, for init."""
        return self.criticise(self.generate(z, values, present), values, present)

    def generate(self, z: Float[Array, "b latent"], values: Values, present: Present) -> Features:
        """Images in (-1, 1) from z; see `Generator`."""
        return self.generator(z, values, present)

    def criticise(self, x: Features, values: Values, present: Present) -> Float[Array, " b"]:
        """Scores, higher for real; see `Critic`."""
        return self.critic(x, values, present)


@dataclass(frozen=True)
class GanNetworks:
    """channels: of the generator, coarsest first; the critic has them in reverse. latent: numbers that are drawn.
    conditional: both networks see the condition.
    """

    channels: tuple[int, ...] = (128, 64, 32)
    latent: int = 100
    conditional: bool = True


def make_gan(
    image_size: tuple[int, ...],
    cardinalities: tuple[int, ...],
    settings: GanNetworks = GanNetworks(),
    image_channels: int = 1,
) -> Gan:
    """Both networks, for images or volumes of this size."""
    if len(image_size) not in (2, 3):
        raise InputError("gan", "image_size", image_size, "two or three spatial axes")
    known = tuple(cardinalities) if settings.conditional else ()
    channels = tuple(settings.channels)
    return Gan(
        Generator(tuple(image_size), channels, settings.latent, known, out_channels=image_channels),
        Critic(channels[::-1], known),
    )
