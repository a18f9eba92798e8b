"""The blocks of the UNet, and of the autoencoder: residual block, change of resolution, and one module a level."""

from __future__ import annotations

from typing import Any, Protocol

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from brain_diffusion_jax.array_types import SCANNED_BLOCKS
from brain_diffusion_jax.models.attention import SpatialSelfAttention, SpatialTransformer, Tokens, repeated
from brain_diffusion_jax.models.layers import (
    Dtype,
    Features,
    UpsampleConv,
    average_halves,
    conv,
    norm,
    upsample_nearest,
)
from brain_diffusion_jax.models.unet_config import UNetConfig

Embedding = Float[Array, "batch time_dim"]


class _BlockConfig(Protocol):
    """The settings that residual blocks and self-attention read, of a UNetConfig or an AutoencoderConfig."""

    @property
    def norm_num_groups(self) -> int: ...
    @property
    def norm_eps(self) -> float: ...
    @property
    def use_combined_linear(self) -> bool: ...
    @property
    def include_fc(self) -> bool: ...
    @property
    def compute_dtype(self) -> Dtype: ...
    @property
    def fast_conv_gradient(self) -> bool: ...
    @property
    def remat(self) -> str: ...


def block_conv(config: _BlockConfig, dims: int, features: int, name: str, **how: Any) -> nn.Module:
    """`layers.conv` over `dims` axes with the settings of a config."""
    return conv(features, dims, name, dtype=config.compute_dtype, fast_gradient=config.fast_conv_gradient, **how)


def upsample_conv(config: _BlockConfig, dims: int, features: int, name: str) -> nn.Module:
    """`layers.UpsampleConv` over `dims` axes with the settings of a config."""
    return UpsampleConv(features, dims, config.compute_dtype, config.fast_conv_gradient, name=name)


def _conv_of_upsampled(x: Features, features: int, config: _BlockConfig, name: str) -> Features:
    dims = x.ndim - 2
    if dims == 2:  # as released runs have it: folded, sums are rounded otherwise
        return block_conv(config, dims, features, name)(upsample_nearest(x))
    return upsample_conv(config, dims, features, name)(x)


class ResBlock(nn.Module):
    """norm, SiLU, conv, + projected time, norm, SiLU, conv (zero at first), + x. resample: "none", "up" or "down".

    embedding: None in a network without time.
    """

    features: int
    config: _BlockConfig
    resample: str = "none"

    @nn.compact
    def __call__(self, x: Features, embedding: Embedding | None) -> Features:
        c, dims = self.config, x.ndim - 2
        change = {"none": lambda a: a, "up": upsample_nearest, "down": average_halves}[self.resample]
        y = nn.silu(norm(c.norm_num_groups, c.norm_eps, c.compute_dtype, "norm1")(x))
        x = change(x)
        if self.resample == "up":
            y = _conv_of_upsampled(y, self.features, c, "conv1")
        else:
            y = block_conv(c, dims, self.features, "conv1")(change(y))
        if embedding is not None:
            shift = nn.Dense(self.features, dtype=c.compute_dtype, name="time_projection")(nn.silu(embedding))
            y = y + shift.reshape(shift.shape[0], *(1,) * dims, self.features)
        y = nn.silu(norm(c.norm_num_groups, c.norm_eps, c.compute_dtype, "norm2")(y))
        y = block_conv(c, dims, self.features, "conv2", zero=True)(y)
        if x.shape[-1] != self.features:
            x = block_conv(c, dims, self.features, "skip", kernel=1)(x)
        return x + y


def _attention_settings(head_channels: int, config: _BlockConfig) -> dict[str, Any]:
    return dict(
        head_channels=head_channels,
        groups=config.norm_num_groups,
        eps=config.norm_eps,
        combined=config.use_combined_linear,
        project=config.include_fc,
        dtype=config.compute_dtype,
    )


class LevelAttention(nn.Module):
    """Plain self-attention, or a transformer over the context where the UNet has one."""

    head_channels: int
    config: UNetConfig

    @nn.compact
    def __call__(self, x: Features, context: Tokens | None, train: bool) -> Features:
        c = self.config
        shared = _attention_settings(self.head_channels, c)
        if not c.cross_attention:
            return SpatialSelfAttention(**shared, name="self")(x)
        transformer = SpatialTransformer(
            **shared,
            num_layers=c.transformer_num_layers,
            upcast=c.upcast_attention,
            dropout=c.dropout_cattn,
            scan=c.scan_blocks,
            name="transformer",
        )
        return transformer(x, context, train)


def res_block(features: int, config: _BlockConfig, name: str, resample: str = "none") -> nn.Module:
    """A ResBlock, recomputed in the backward pass where the config says so (the same parameter paths)."""
    block = nn.remat(ResBlock) if config.remat == "blocks" else ResBlock
    return block(features, config, resample, name=name)


def self_attention(channels: int, config: _BlockConfig, name: str) -> nn.Module:
    """SpatialSelfAttention with one head, recomputed in the backward pass where the config says so."""
    block = nn.remat(SpatialSelfAttention) if config.remat == "blocks" else SpatialSelfAttention
    return block(**_attention_settings(channels, config), name=name)


def level_attention(head_channels: int, config: UNetConfig, name: str) -> nn.Module:
    """A LevelAttention, recomputed in the backward pass where the config says so."""
    block = nn.remat(LevelAttention, static_argnums=(3,)) if config.remat == "blocks" else LevelAttention
    return block(head_channels, config, name=name)


class EqualBlock(nn.Module):
    """A residual block and its attention, as nn.scan repeats them: returns x as carry and as output."""

    features: int
    head_channels: int
    config: UNetConfig
    train: bool

    @nn.compact
    def __call__(self, x: Features, embedding: Embedding, context: Tokens | None) -> tuple[Features, Features]:
        x = res_block(self.features, self.config, "res")(x, embedding)
        if self.head_channels:
            x = level_attention(self.head_channels, self.config, "attention")(x, context, self.train)
        return x, x


class DownLevel(nn.Module):
    """Residual blocks with attention, then half the resolution; returns x and every state on the way."""

    features: int
    num_res_blocks: int
    head_channels: int  # 0: no attention
    last: bool
    config: UNetConfig

    @nn.compact
    def __call__(
        self, x: Features, embedding: Embedding, context: Tokens | None, train: bool
    ) -> tuple[Features, list[Features]]:
        c, states = self.config, []
        # The first block may widen x; those after it are equal.
        scanned = self.num_res_blocks - 1 if c.scan_blocks and self.num_res_blocks > 2 else 0
        for i in range(self.num_res_blocks - scanned):
            x = res_block(self.features, c, f"res_{i}")(x, embedding)
            if self.head_channels:
                x = level_attention(self.head_channels, c, f"attention_{i}")(x, context, train)
            states.append(x)
        if scanned:
            blocks = repeated(EqualBlock, scanned)(self.features, self.head_channels, c, train, name=SCANNED_BLOCKS)
            x, each = blocks(x, embedding, context)
            states += list(each)
        if not self.last:
            if c.resblock_updown:
                x = res_block(self.features, c, "downsample", "down")(x, embedding)
            else:
                x = block_conv(c, c.spatial_dims, self.features, "downsample", stride=2)(x)
            states.append(x)
        return x, states


class MiddleLevel(nn.Module):
    """Residual block, attention (always), residual block."""

    features: int
    head_channels: int
    config: UNetConfig

    @nn.compact
    def __call__(self, x: Features, embedding: Embedding, context: Tokens | None, train: bool) -> Features:
        x = res_block(self.features, self.config, "res_0")(x, embedding)
        x = level_attention(self.head_channels, self.config, "attention_0")(x, context, train)
        return res_block(self.features, self.config, "res_1")(x, embedding)


class UpLevel(nn.Module):
    """Residual blocks with attention, each after one state of the way down, then twice the resolution."""

    features: int
    num_res_blocks: int
    head_channels: int  # 0: no attention
    last: bool
    config: UNetConfig

    @nn.compact
    def __call__(
        self, x: Features, states: list[Features], embedding: Embedding, context: Tokens | None, train: bool
    ) -> Features:
        """states: of this level in the order of the way down; the last is taken first."""
        c = self.config
        for i in range(self.num_res_blocks):
            x = jnp.concatenate([x, states[-1 - i]], axis=-1)
            x = res_block(self.features, c, f"res_{i}")(x, embedding)
            if self.head_channels:
                x = level_attention(self.head_channels, c, f"attention_{i}")(x, context, train)
        if not self.last:
            if c.resblock_updown:
                x = res_block(self.features, c, "upsample", "up")(x, embedding)
            else:
                x = _conv_of_upsampled(x, self.features, c, "upsample")
        return x
