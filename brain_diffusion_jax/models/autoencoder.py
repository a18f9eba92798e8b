"""An autoencoder of images and volumes with a Gaussian latent: that of Rombach et al. 2022, also on patches."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from brain_diffusion_jax.array_types import Key
from brain_diffusion_jax.models.autoencoder_config import AutoencoderConfig
from brain_diffusion_jax.models.layers import (
    Features,
    GroupNorm,
    average_halves,
    conv,
    depth_to_space,
    pad_to_multiple,
    space_to_depth,
    upsample_nearest,
)
from brain_diffusion_jax.models.unet_blocks import block_conv, res_block, self_attention, upsample_conv

Latent = Float[Array, "batch *latent z"]
LOG_VARIANCE_BOUNDS = (-30.0, 20.0)
# Where the log variance starts: sigma = 0.14 beside means of spread 0.6, so that the decoder sees the image from the
# first step on. At MONAI's start (0, sigma = 1) it first has to learn to make less noise.
_FIRST_LOG_VARIANCE = -4.0


class _Level(nn.Module):
    """Residual blocks of one width, each followed by attention where the level has it, then another resolution."""

    features: int
    count: int
    attention: bool
    then: str  # "down", "up" or "none"
    config: AutoencoderConfig

    @nn.compact
    def __call__(self, x: Features, part: str = "whole") -> Features:
        """part: "whole", or of an "up" level what is before ("coarse") and after ("fine") it doubles."""
        c, dims = self.config, x.ndim - 2
        for i in range(self.count if part != "fine" else 0):
            x = res_block(self.features, c, f"res_{i}")(x, None)
            if self.attention:
                x = self_attention(self.features, c, f"attention_{i}")(x)
        if part == "coarse":
            return x
        if self.then == "down":
            change, beside = block_conv(c, dims, self.features, "downsample", stride=2, padding=(0, 1)), average_halves
        elif self.then == "up":
            change, beside = upsample_conv(c, dims, self.features, "upsample"), upsample_nearest
        else:
            return x
        return change(x) + beside(x) if c.shortcuts else change(x)


class _Middle(nn.Module):
    """Residual block, attention, residual block."""

    config: AutoencoderConfig

    @nn.compact
    def __call__(self, x: Features) -> Features:
        x = res_block(x.shape[-1], self.config, "res_0")(x, None)
        x = self_attention(x.shape[-1], self.config, "attention_0")(x)
        return res_block(x.shape[-1], self.config, "res_1")(x, None)


def _out_norm(c: AutoencoderConfig, x: Features) -> Features:
    """MONAI's norm before the last convolution. With norms of positions there is none: it would take the intensity."""
    return GroupNorm(c.norm_num_groups, c.norm_eps, c.compute_dtype, name="out_norm")(x) if c.norm_num_groups else x


class Encoder(nn.Module):
    """[b, *sizes, c] -> [b, *latent sizes, latent_channels]; an odd size at a level is halved rounded down."""

    config: AutoencoderConfig

    @nn.compact
    def __call__(self, x: Features) -> Features:
        c, dims, last = self.config, x.ndim - 2, len(self.config.channels) - 1
        x = block_conv(c, dims, c.channels[0], "conv_in")(x)
        for i, level in enumerate(zip(c.channels, c.num_res_blocks, c.attention_levels)):
            x = _Level(*level, "none" if i == last else "down", c, name=f"down_{i}")(x)
        if c.encoder_attention:
            x = _Middle(c, name="middle")(x)
        x = _out_norm(c, x)
        return block_conv(c, dims, c.latent_channels, "conv_out")(x)


class Decoder(nn.Module):
    """[b, *latent sizes, latent_channels] -> [b, *sizes, out_channels]. Levels are numbered coarsest first.

    part: "whole"; "coarse" ends before the last doubling, where features still are small; "fine" goes on from there.
    """

    config: AutoencoderConfig
    out_channels: int

    @nn.compact
    def __call__(self, z: Latent | Features, part: str = "whole") -> Features:
        c, x, dims, last = self.config, z, z.ndim - 2, len(self.config.channels) - 1
        if part != "fine":
            x = block_conv(c, dims, c.channels[-1], "conv_in")(x)
            if c.decoder_attention:
                x = _Middle(c, name="middle")(x)
        for i, settings in enumerate(reversed(list(zip(c.channels, c.num_res_blocks, c.attention_levels)))):
            level = _Level(*settings, "none" if i == last else "up", c, name=f"up_{i}")
            if i == last - 1 or (i == last and part != "coarse") or (i < last and part != "fine"):
                x = level(x, part if i == last - 1 else "whole")
        if part == "coarse":
            return x
        x = _out_norm(c, x)
        return block_conv(c, dims, self.out_channels, "conv_out")(x)


def is_key(value: object) -> bool:
    """Whether a value is a random key, and not an array of numbers."""
    return isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key)


class Autoencoder(nn.Module):
    """Images to the mean and log variance of a Gaussian latent (`encode`), and a latent to an image (`decode`).

    Any size: the edges of an image are repeated until every size is a multiple of config.size_multiple (half of
    them before, as UNet does), so that latents have `config.latent_shape` and decode to the padded size; `decode`
    cuts its image to `sizes`, from where `encode` had put it. Group norms see the repeated edges.
    """

    config: AutoencoderConfig = AutoencoderConfig()
    spatial_dims: int = 2
    in_channels: int = 1
    out_channels: int | None = None  # as in_channels

    def setup(self) -> None:
        c, dims, out = self.config, self.spatial_dims, self.out_channels or self.in_channels
        self.encoder = Encoder(c)
        self.decoder = Decoder(c, out * c.patch**dims)

        # Of size 1, and in float32: the latent is what another model learns.
        latent: dict[str, Any] = dict(kernel=1, fast_gradient=c.fast_conv_gradient)
        self.to_mean = conv(c.latent_channels, dims, "to_mean", **latent)
        self.to_log_variance = conv(
            c.latent_channels, dims, "to_log_variance", **latent, zero=True, bias=_FIRST_LOG_VARIANCE
        )
        self.from_latent = conv(c.latent_channels, dims, "from_latent", **latent)

    def encode(self, x: Features, *, pad: bool = True) -> tuple[Latent, Latent]:
        """(mean, log variance) in float32 of the latent; the log variance is kept within LOG_VARIANCE_BOUNDS.

        pad: False halves odd sizes rounded down, as MONAI does; a patched layout then needs multiples of the patch.
        Raises ValueError for an image of another number of axes or channels.
        """
        if x.ndim != self.spatial_dims + 2 or x.shape[-1] != self.in_channels:
            expected = f"[batch, {self.spatial_dims} spatial axes, {self.in_channels}]"
            raise ValueError(f"x has shape {x.shape}; expected {expected}")
        if pad:
            x, _ = pad_to_multiple(x, self.config.size_multiple)
        h = self.encoder(space_to_depth(x, self.config.patch)).astype(jnp.float32)
        return self.to_mean(h), jnp.clip(self.to_log_variance(h), *LOG_VARIANCE_BOUNDS)

    def decode(self, z: Latent, sizes: tuple[int, ...] | None = None) -> Features:
        """The image [b, *sizes, out_channels] of a latent in float32, not clipped.

        sizes: spatial sizes of the image that was encoded (None: size_multiple times those of z). Raises ValueError
        for a latent that does not fit.
        """
        c = self.config
        if z.ndim != self.spatial_dims + 2 or z.shape[-1] != c.latent_channels:
            expected = f"[batch, {self.spatial_dims} spatial axes, {c.latent_channels}]"
            raise ValueError(f"z has shape {z.shape}; expected {expected}")
        if sizes is not None and c.latent_shape((*sizes, 1)) != z.shape[1:]:
            raise ValueError(f"z has shape {z.shape}; expected [batch, {c.latent_shape((*sizes, 1))}] for {sizes}")
        return self.inside(self._fine(self.from_latent(z.astype(jnp.float32)), "whole"), sizes)

    def coarse(self, z: Latent) -> Features:
        """The part of `decode` before the last doubling: small features of a whole latent."""
        return self.decoder(self.from_latent(z.astype(jnp.float32)), "coarse")  # type: ignore[no-any-return]

    def fine(self, x: Features) -> Features:
        """The rest of `decode`, from the features of `coarse`, or of a slab of them, to the padded image."""
        return self._fine(x, "fine")

    def _fine(self, x: Features, part: str) -> Features:
        return depth_to_space(self.decoder(x, part), self.config.patch).astype(jnp.float32)

    def inside(self, x: Features, sizes: tuple[int, ...] | None) -> Features:
        """A padded image cut to `sizes`, from where `encode` had put it; None leaves it."""
        if sizes is None:
            return x
        before = [(whole - size) // 2 for whole, size in zip(x.shape[1:-1], sizes, strict=True)]
        return x[(slice(None), *(slice(b, b + size) for b, size in zip(before, sizes, strict=True)))]

    def __call__(self, x: Features, key_or_noise: Key | Latent | None = None) -> tuple[Features, Latent, Latent]:
        """(reconstruction, mean, log variance): of a draw z = mean + exp(log variance / 2) noise, or of the mean.

        key_or_noise: a random key, standard normal noise of the latent's shape, or None, which decodes the mean.
        """
        mean, log_variance = self.encode(x)
        z = mean
        if key_or_noise is not None:
            noise = jax.random.normal(key_or_noise, mean.shape) if is_key(key_or_noise) else key_or_noise
            z = mean + jnp.exp(log_variance / 2) * noise
        return self.decode(z, x.shape[1:-1]), mean, log_variance
