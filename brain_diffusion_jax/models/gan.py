"""WGAN-GP networks, conditional and not: the baseline that diffusion is measured against.

Generator and critic are those of Gulrajani et al. 2017 (residual-free DCGAN form) with normalisation by
groups in the generator and none in the critic, which the gradient penalty needs. The condition is the same
(values, present) as everywhere; it enters the generator together with z and the critic by projection
(Miyato & Koyama 2018).
"""

from __future__ import annotations

from dataclasses import dataclass

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from brain_diffusion_jax.models.conditioning import CovariateTokens
from brain_diffusion_jax.models.layers import GroupNorm, conv, pad_to_multiple, space_to_depth, upsample_nearest

Values = Float[Array, "b n"]
Present = Bool[Array, "b n"]


class _Summary(nn.Module):
    """All covariates as one vector [b, width]; learned nulls where absent."""

    cardinalities: tuple[int, ...]
    width: int

    @nn.compact
    def __call__(self, values: Values, present: Present) -> Float[Array, "b width"]:
        tokens = CovariateTokens(self.cardinalities, self.width, name="tokens")(values, present)
        return nn.Dense(self.width, name="mix")(tokens.reshape(tokens.shape[0], -1))


def _start(size: tuple[int, ...], levels: int) -> tuple[int, int]:
    rows, cols = (-(-n // 2**levels) for n in size)
    return rows, cols


class Generator(nn.Module):
    """z [b, latent] -> [b, rows, cols, 1] in (-1, 1); any size (cropped from the next multiple of 2^levels)."""

    image_size: tuple[int, int]
    channels: tuple[int, ...] = (128, 64, 32)
    latent: int = 100
    cardinalities: tuple[int, ...] = ()
    width: int = 64

    @nn.compact
    def __call__(self, z: Float[Array, "b latent"], values: Values, present: Present) -> Float[Array, "b rows cols 1"]:
        if self.cardinalities:
            z = jnp.concatenate([z, _Summary(self.cardinalities, self.width, name="condition")(values, present)], -1)
        rows, cols = _start(self.image_size, len(self.channels))
        x = nn.Dense(rows * cols * self.channels[0], name="project")(z)
        x = x.reshape(-1, rows, cols, self.channels[0])
        for level, width in enumerate(self.channels):
            x = nn.relu(GroupNorm(8, name=f"norm{level}")(x))
            # Nearest-neighbour upsampling and a convolution: no checkerboard artefacts of transposed convolutions.
            x = conv(width, 2, f"conv{level}")(upsample_nearest(x))
        x = nn.relu(GroupNorm(8, name="norm_out")(x))
        x = jnp.tanh(conv(1, 2, "conv_out")(x))
        return x[:, : self.image_size[0], : self.image_size[1]]


class Critic(nn.Module):
    """[b, rows, cols, 1] -> score [b], higher for real; any size (edges repeated to the next multiple of 2^levels).

    Halving is by 2x2 pixels as channels and a 3x3 convolution: a strided one of 6x6 (the original's is 5x5),
    whose second derivatives, which the gradient penalty needs, are plain convolutions.
    """

    channels: tuple[int, ...] = (32, 64, 128)
    cardinalities: tuple[int, ...] = ()

    @nn.compact
    def __call__(self, x: Float[Array, "b rows cols 1"], values: Values, present: Present) -> Float[Array, " b"]:
        x, _ = pad_to_multiple(x, 2 ** len(self.channels))
        for level, width in enumerate(self.channels):
            x = nn.leaky_relu(conv(width, 2, f"conv{level}")(space_to_depth(x, 2)), 0.2)
        features = x.reshape(x.shape[0], -1)
        score = nn.Dense(1, name="score")(features)[:, 0]
        if self.cardinalities:
            width = self.channels[-1]
            summary = _Summary(self.cardinalities, width, name="condition")(values, present)
            score = score + jnp.sum(nn.Dense(width, name="projection")(features) * summary, axis=-1) / width**0.5
        return score


class Gan(nn.Module):
    """Both networks; parameters {"generator", "critic"}. Methods `generate` and `criticise`."""

    generator: Generator
    critic: Critic

    def __call__(self, z: Array, values: Values, present: Present) -> Array:
        """Scores of generated images: touches every parameter, for init."""
        return self.criticise(self.generate(z, values, present), values, present)

    def generate(self, z: Float[Array, "b latent"], values: Values, present: Present) -> Float[Array, "b rows cols 1"]:
        """Images in (-1, 1) from z; see `Generator`."""
        return self.generator(z, values, present)

    def criticise(self, x: Float[Array, "b rows cols 1"], values: Values, present: Present) -> Float[Array, " b"]:
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


def make_gan(image_size: tuple[int, ...], cardinalities: tuple[int, ...], settings: GanNetworks = GanNetworks()) -> Gan:
    """Both networks, for images of [rows, cols]."""
    rows, cols = image_size
    known = tuple(cardinalities) if settings.conditional else ()
    channels = tuple(settings.channels)
    return Gan(
        Generator((rows, cols), channels, settings.latent, known),
        Critic(channels[::-1], known),
    )
