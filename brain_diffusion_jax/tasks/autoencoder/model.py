"""An autoencoder as users see it: images to latents, and latents to images."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from brain_diffusion_jax.array_types import Params
from brain_diffusion_jax.contract import Contract
from brain_diffusion_jax.diffusion.codec import LatentScale
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.losses.adversarial import GENERATOR
from brain_diffusion_jax.models.autoencoder import Autoencoder
from brain_diffusion_jax.models.slabs import decode_slabs
from brain_diffusion_jax.pixels import to_unit
from brain_diffusion_jax.tasks.autoencoder.config import AutoencoderRunConfig, RangedAutoencoder
from brain_diffusion_jax.tasks.autoencoder.loss import from_network, to_network
from brain_diffusion_jax.tasks.model import Model

Images = Float[np.ndarray, "n *spatial c"]
Latents = Float[np.ndarray, "n *latent z"]


def posterior(module: Autoencoder, config: RangedAutoencoder, params: Params, images: Any) -> Any:
    """(mean, log variance) of images in [0, 1], unscaled."""
    return module.apply({"params": params}, to_network(images, config), method="encode")


def decoded(
    module: Autoencoder, config: RangedAutoencoder, sizes: Any, params: Params, latents: Any, slabs: int = 1
) -> Any:
    """Images of latents, about [0, 1]; not clipped. sizes: spatial sizes of the images, or None."""
    return from_network(decode_slabs(module, params, latents, sizes, slabs), config)


class AutoencoderModel(Model):
    """A trained autoencoder. kind "autoencoder". Latents are channels-last and unscaled; see `latent_scale`."""

    kind = "autoencoder"
    needs_contract = True
    whole_variables = True
    contract: Contract
    config: AutoencoderRunConfig

    @functools.cached_property
    def module(self) -> Autoencoder:
        """The linen module that `network_params` belong to."""
        return Autoencoder(self.config.autoencoder, len(self.contract.image_size), self.contract.channels)

    @property
    def network_params(self) -> Params:
        """Parameters of the autoencoder alone, without those of a discriminator."""
        return self.params["params"][GENERATOR]

    @property
    def latent_channels(self) -> int:
        """How many numbers a place of the latent has."""
        return self.config.autoencoder.latent_channels

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """(*latent sizes, latent channels) of the contract's images."""
        return self.config.autoencoder.latent_shape(self.contract.shape)

    @property
    def latent_scale(self) -> LatentScale:
        """Mean and deviation of each latent channel over the training set, as the finished training measured them.

        Raises InputError where they are absent or of other weights.
        """
        found = self.config.latent
        if not found.weights:
            raise InputError(self.path, "latent", "no scale", "a run trained to its end, which measures its latents")
        if found.weights != self.version:
            raise InputError(self.path, "latent.weights", found.weights, f"{self.version}, the weights that are opened")
        return LatentScale(jnp.asarray(found.mean, jnp.float32), jnp.asarray(found.std, jnp.float32))

    @functools.cached_property
    def _encode(self) -> Any:
        return jax.jit(functools.partial(posterior, self.module, self.config.autoencoder))

    @functools.cached_property
    def _decode(self) -> Any:
        return jax.jit(functools.partial(decoded, self.module, self.config.autoencoder), static_argnums=0)

    def moments(self, images: Any, batch_size: int = 4) -> tuple[Latents, Latents]:
        """(mean, log variance) of the posteriors of images [n, *spatial, c]: uint8, or floats in [0, 1].

        Images may have another size than the contract's. Raises InputError for another number of axes or channels, NaN
        and values outside [0, 1].
        """
        parts = [self._encode(self.network_params, part) for part in _parts(self._checked(images), batch_size)]
        mean, log_variance = (np.concatenate([np.asarray(p[i]) for p in parts]) for i in range(2))
        return mean[: len(images)], log_variance[: len(images)]

    def encode(self, images: Any, batch_size: int = 4) -> Latents:
        """Posterior means, float32 [n, *latent, z], unscaled. images: as of `moments`."""
        return self.moments(images, batch_size)[0]

    def decode(self, latents: Any, batch_size: int = 4) -> Images:
        """Images float32 [n, *spatial, c] in [0, 1] of unscaled latents, such as `encode` gives.

        Of the contract's size where the latents are of its shape. Raises InputError for latents of another number of
        axes or channels, or not finite.
        """
        latents = np.asarray(latents, np.float32)
        size = tuple(self.contract.image_size)
        return self._decoded(latents, size if latents.shape[1:] == self.latent_shape else None, batch_size)

    def _decoded(self, latents: np.ndarray, sizes: tuple[int, ...] | None, batch_size: int) -> Images:
        if latents.ndim != len(self.latent_shape) + 1 or latents.shape[-1] != self.latent_channels or not len(latents):
            expected = f"[n, {len(self.latent_shape) - 1} spatial axes, {self.latent_channels}], one or more"
            raise InputError("latents", "shape", latents.shape, expected)
        if not np.isfinite(latents).all():
            raise InputError("latents", "values", "NaN or infinity", "finite numbers")
        parts = [np.asarray(self._decode(sizes, self.network_params, p)) for p in _parts(latents, batch_size)]
        return np.asarray(np.clip(np.concatenate(parts)[: len(latents)], 0.0, 1.0))

    def reconstruct(self, images: Any, batch_size: int = 4) -> Images:
        """`decode` of `encode`, in the size of the images."""
        return self._decoded(self.encode(images, batch_size), tuple(np.shape(images)[1:-1]), batch_size)

    def _checked(self, images: Any) -> Images:
        images = np.asarray(images)
        dims, channels = len(self.contract.image_size), self.contract.channels
        if images.ndim != dims + 2 or images.shape[-1] != channels or not len(images):
            raise InputError("images", "shape", images.shape, f"[n, {dims} spatial axes, {channels}], one or more")
        unit: np.ndarray = to_unit(images)
        if not np.isfinite(unit).all() or unit.min() < 0 or unit.max() > 1:
            raise InputError("images", "values", f"{unit.min():g} to {unit.max():g}", "uint8, or floats in [0, 1]")
        return unit


def _parts(array: np.ndarray, size: int) -> list[np.ndarray]:
    """Equal parts of at most `size` samples, the last filled up with its last sample: one program serves all."""
    size = min(size, len(array))
    rows = np.minimum(np.arange(-(-len(array) // size) * size), len(array) - 1)
    return [array[rows[first : first + size]] for first in range(0, len(rows), size)]


MODEL = AutoencoderModel
