"""LSGAN and VAE-GAN of volumes and slices: the baselines of Pinaya et al. 2022, at sizes of our own.

Generator: z -> dense -> per stage nearest upsampling, convolution 3, group norm, LeakyReLU -> convolution -> sigmoid.
Discriminator: convolutions 4 of stride 2 with spectral norm (Miyato et al. 2018), no other norm. Encoder (VAE-GAN,
Larsen et al. 2016): the generator mirrored. Both players see the condition as in the WGAN-GP: with z, by projection.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.models.conditioning import Present, Values
from brain_diffusion_jax.models.convolution import convolve
from brain_diffusion_jax.models.gan import ConditionSummary
from brain_diffusion_jax.models.layers import GroupNorm, UpsampleConv, conv, pad_to_multiple

_SLOPE = 0.2
_GROUPS = 8


@dataclass(frozen=True)
class VolumeGanConfig:
    """channels: of the generator, coarsest first, half the size of the one before at each stage but the first; the
    encoder has them in reverse. critic_channels: of the discriminator, finest first; each layer halves the size.
    latent: numbers that are drawn. width: of the condition's vector. variational: with an encoder (VAE-GAN).
    """

    channels: tuple[int, ...] = (256, 128, 64, 32, 16)
    critic_channels: tuple[int, ...] = (16, 32, 64, 128)
    latent: int = 512
    width: int = 64
    conditional: bool = True
    variational: bool = False

    def __post_init__(self) -> None:
        for field, right, expected in (
            (
                "channels",
                len(self.channels) > 1 and not any(c < 1 or c % _GROUPS for c in self.channels),
                "2 or more eights",
            ),
            ("critic_channels", len(self.critic_channels) >= 1, "1 or more"),
            ("latent", self.latent >= 1, "1 or more"),
        ):
            if not right:
                raise InputError("config", f"gan.{field}", getattr(self, field), expected)


def spectral_norm(kernel: Float[Array, "*sizes c d"]) -> Float[Array, ""]:
    """The largest singular value of a kernel as a matrix [sizes * c, d], exact and differentiable.

    From the eigenvectors of kernel^T kernel, which are held still: the gradient of |W v| is that of the singular value.
    Unlike power iteration it keeps no state between steps.
    """
    matrix = kernel.reshape(-1, kernel.shape[-1]).astype(jnp.float32)
    if matrix.shape[0] < matrix.shape[1]:
        matrix = matrix.T
    held = jax.lax.stop_gradient(matrix)
    direction = jnp.linalg.eigh(held.T @ held)[1][:, -1]
    return jnp.linalg.norm(matrix @ direction)


class SpectralConv(nn.Module):
    """A convolution of size 4 and stride 2, which halves an even image; its kernel is over its spectral norm."""

    features: int

    @nn.compact
    def __call__(self, x: Float[Array, "b *spatial c"]) -> Float[Array, "b *halves features"]:
        dims = x.ndim - 2
        shape = (*(4,) * dims, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
        axes = "XYZ"[:dims]
        order = (f"N{axes}C", f"{axes}IO", f"N{axes}C")
        kernel = kernel / spectral_norm(kernel)
        return convolve(x, kernel, (2,) * dims, [(1, 1)] * dims, dimension_numbers=order) + bias


class SpectralDense(nn.Module):
    """A dense layer whose kernel is divided by its spectral norm."""

    features: int

    @nn.compact
    def __call__(self, x: Float[Array, "b c"]) -> Float[Array, "b features"]:
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (x.shape[-1], self.features), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
        return x @ (kernel / spectral_norm(kernel)) + bias


class VolumeGenerator(nn.Module):
    """z [b, latent] -> [b, *image_size, image_channels] in (0, 1); any size, cropped from the next multiple."""

    image_size: tuple[int, ...]
    image_channels: int
    config: VolumeGanConfig
    cardinalities: tuple[int, ...]

    @nn.compact
    def __call__(self, z: Float[Array, "b latent"], values: Values, present: Present) -> Float[Array, "b *spatial c"]:
        c, dims = self.config, len(self.image_size)
        if self.cardinalities:
            summary = ConditionSummary(self.cardinalities, c.width, name="condition")(values, present)
            z = jnp.concatenate([z, summary], -1)
        base = tuple(-(-n // 2 ** (len(c.channels) - 1)) for n in self.image_size)
        x = nn.Dense(math.prod(base) * c.channels[0], name="project")(z)
        x = x.reshape(-1, *base, c.channels[0])
        for stage, width in enumerate(c.channels[1:]):
            x = UpsampleConv(width, dims, fast_gradient=True, name=f"conv_{stage}")(x)
            x = nn.leaky_relu(GroupNorm(_GROUPS, name=f"norm_{stage}")(x), _SLOPE)
        x = nn.sigmoid(conv(self.image_channels, dims, "conv_out")(x))
        return x[(slice(None), *(slice(0, n) for n in self.image_size))]


class VolumeEncoder(nn.Module):
    """Images [b, *spatial, c] -> (mean, log variance) of z, [b, latent] each; the log variance within [-30, 20]."""

    config: VolumeGanConfig
    cardinalities: tuple[int, ...]

    @nn.compact
    def __call__(
        self, x: Float[Array, "b *spatial c"], values: Values, present: Present
    ) -> tuple[Float[Array, "b latent"], Float[Array, "b latent"]]:
        c, dims = self.config, x.ndim - 2
        x, _ = pad_to_multiple(x, 2 ** (len(c.channels) - 1))
        for stage, width in enumerate(c.channels[-2::-1]):
            x = conv(width, dims, f"conv_{stage}", stride=2)(x)
            x = nn.leaky_relu(GroupNorm(_GROUPS, name=f"norm_{stage}")(x), _SLOPE)
        x = x.reshape(x.shape[0], -1)
        if self.cardinalities:
            summary = ConditionSummary(self.cardinalities, c.width, name="condition")(values, present)
            x = jnp.concatenate([x, summary], -1)
        mean, log_variance = nn.Dense(c.latent, name="mean")(x), nn.Dense(c.latent, name="log_variance")(x)
        return mean, jnp.clip(log_variance, -30.0, 20.0)


class Judgement(NamedTuple):
    """scores [b], higher for real; features [b, *spatial, d] of the last layer, for reconstruction in them."""

    scores: Float[Array, " b"]
    features: Float[Array, "b *spatial d"]


class VolumeCritic(nn.Module):
    """Images [b, *spatial, c] -> scores and features; any size (edges repeated to the next multiple)."""

    config: VolumeGanConfig
    cardinalities: tuple[int, ...]

    @nn.compact
    def __call__(self, x: Float[Array, "b *spatial c"], values: Values, present: Present) -> Judgement:
        c = self.config
        x, _ = pad_to_multiple(x, 2 ** len(c.critic_channels))
        for layer, width in enumerate(c.critic_channels):
            x = nn.leaky_relu(SpectralConv(width, name=f"conv_{layer}")(x), _SLOPE)
        flat = x.reshape(x.shape[0], -1)
        scores = SpectralDense(1, name="score")(flat)[:, 0]
        if self.cardinalities:
            summary = ConditionSummary(self.cardinalities, c.width, name="condition")(values, present)
            scores = scores + jnp.sum(SpectralDense(c.width, name="projection")(flat) * summary, -1) / c.width**0.5
        return Judgement(scores, x)


class VolumeMaker(nn.Module):
    """The generator's side: a generator, and an encoder where it is variational."""

    image_size: tuple[int, ...]
    image_channels: int
    config: VolumeGanConfig
    cardinalities: tuple[int, ...]

    @property
    def latent(self) -> int:
        """Numbers that are drawn for an image."""
        return self.config.latent

    def setup(self) -> None:
        self.decoder = VolumeGenerator(self.image_size, self.image_channels, self.config, self.cardinalities)
        if self.config.variational:
            self.encoder = VolumeEncoder(self.config, self.cardinalities)

    def __call__(self, z: Float[Array, "b latent"], values: Values, present: Present) -> Float[Array, "b *spatial c"]:
        """Images in (0, 1) from z."""
        return self.decoder(z, values, present)

    def encode(
        self, x: Float[Array, "b *spatial c"], values: Values, present: Present
    ) -> tuple[Float[Array, "b latent"], Float[Array, "b latent"]]:
        """Mean and log variance of z; see `VolumeEncoder`."""
        return self.encoder(x, values, present)


class VolumeGan(nn.Module):
    """Both players; parameters {"generator": {"decoder", "encoder"}, "critic"}, as `losses.adversarial` wants them."""

    generator: VolumeMaker
    critic: VolumeCritic

    def __call__(self, z: Float[Array, "b latent"], values: Values, present: Present) -> Judgement:
        """Judges generated images: touches every parameter, for init."""
        images = self.generate(z, values, present)
        if self.generator.config.variational:
            self.encode(images, values, present)
        return self.criticise(images, values, present)

    def generate(self, z: Float[Array, "b latent"], values: Values, present: Present) -> Float[Array, "b *spatial c"]:
        """Images in (0, 1) from z; see `VolumeGenerator`."""
        return self.generator(z, values, present)

    def encode(
        self, x: Float[Array, "b *spatial c"], values: Values, present: Present
    ) -> tuple[Float[Array, "b latent"], Float[Array, "b latent"]]:
        """Mean and log variance of z; only of a variational one."""
        return self.generator.encode(x, values, present)

    def criticise(self, x: Float[Array, "b *spatial c"], values: Values, present: Present) -> Judgement:
        """Scores and features; see `VolumeCritic`."""
        return self.critic(x, values, present)


def make_volume_gan(
    image_size: tuple[int, ...], image_channels: int, cardinalities: tuple[int, ...], config: VolumeGanConfig
) -> VolumeGan:
    """The networks for images [*image_size, image_channels] and the covariates of a schema."""
    known = tuple(cardinalities) if config.conditional else ()
    maker = VolumeMaker(tuple(image_size), image_channels, config, known)
    return VolumeGan(maker, VolumeCritic(config, known))
