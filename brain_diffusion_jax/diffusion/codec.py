"""What diffusion works on: pixels, or the latents of a frozen autoencoder; the rest of the package cannot tell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from brain_diffusion_jax.array_types import Image, Key
from brain_diffusion_jax.diffusion.process import Process

# Images in [0, 1] to the mean and log variance of their latents; latents to images, about [0, 1].
Moments = Callable[[Image], tuple[Image, Image]]
Decoder = Callable[[Image], Image]


class Codec(Protocol):
    """Between images in [0, 1] and what a network adds noise to."""

    def latent_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Of the latent [*spatial, c] of an image [*spatial, channels]."""
        ...

    def encode(self, image: Image, keys: Key) -> Image:
        """Latents of images. keys: one a sample, for codecs that draw."""
        ...

    def mean(self, image: Image) -> Image:
        """Latents of images, without a draw."""
        ...

    def decode(self, latent: Image) -> Image:
        """Images in [0, 1] of latents."""
        ...


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class PixelCodec(Codec):
    """Images themselves, scaled to the range of a process."""

    process: Process = field(metadata=dict(static=True))

    def latent_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape

    def encode(self, image: Image, keys: Key) -> Image:
        return self.mean(image)

    def mean(self, image: Image) -> Image:
        """Images, scaled."""
        return self.process.to_network(image)

    def decode(self, latent: Image) -> Image:
        return self.process.to_unit(latent)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class LatentScale:
    """Mean and standard deviation of each latent channel over the training set; x = (z - mean) / std."""

    mean: Float[Array, " c"]
    std: Float[Array, " c"]

    def standard(self, z: Image) -> Image:
        """Latents with mean 0 and deviation 1 a channel."""
        return (z.astype(jnp.float32) - self.mean) / self.std

    def restore(self, x: Image) -> Image:
        """The inverse of `standard`."""
        return x * self.std + self.mean


def draw_posterior(mean: Image, log_variance: Image, keys: Key) -> Image:
    """mean + sigma noise; the noise of each sample from its own key."""
    noise = jax.vmap(lambda key: jax.random.normal(key, mean.shape[1:], mean.dtype))(keys)
    return mean + jnp.exp(log_variance / 2) * noise


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class LatentCodec(Codec):
    """A frozen autoencoder and the scale of its latents.

    Give moments and decoder as jax.tree_util.Partial(function, params): jitted code then takes the weights as an
    argument. shape: of a latent. sample: encode draws from the posterior; False takes its mean. stored: images are
    posteriors already, [*latent, 2 c], mean before log variance, as a latent cache keeps them.
    """

    moments: Moments
    decoder: Decoder
    scale: LatentScale
    shape: tuple[int, ...] = field(metadata=dict(static=True))
    sample: bool = field(default=True, metadata=dict(static=True))
    stored: bool = field(default=False, metadata=dict(static=True))

    def latent_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return self.shape

    def encode(self, image: Image, keys: Key) -> Image:
        mean, log_variance = self._moments(image)
        return self.scale.standard(draw_posterior(mean, log_variance, keys) if self.sample else mean)

    def mean(self, image: Image) -> Image:
        """The scaled mean of each posterior."""
        return self.scale.standard(self._moments(image)[0])

    def _moments(self, image: Image) -> tuple[Image, Image]:
        if not self.stored:
            return self.moments(image)
        mean, log_variance = jnp.split(image, 2, axis=-1)
        return mean, log_variance

    def decode(self, latent: Image) -> Image:
        return jnp.clip(self.decoder(self.scale.restore(latent)), 0.0, 1.0)
