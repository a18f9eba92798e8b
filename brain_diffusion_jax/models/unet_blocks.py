"""The blocks of the UNet: residual block, change of resolution, and one module a level."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from brain_diffusion_jax.models.attention import SpatialSelfAttention, SpatialTransformer, Tokens
from brain_diffusion_jax.models.layers import Dtype, Features, GroupNorm, average_halves, conv, upsample_nearest

Embedding = Float[Array, "batch time_dim"]


@dataclass(frozen=True)
class BlockOptions:
    """What all blocks of one UNet share. cross_attention: transformers that see a context, not plain attention.

    scan: blocks of equal shapes run as one scanned block, with their parameters stacked. fast_gradient: see
    `convolution.convolve`.
    """

    groups: int
    eps: float
    resblock_updown: bool
    cross_attention: bool
    transformer_num_layers: int
    upcast_attention: bool
    dropout: float
    include_fc: bool
    combined_linear: bool
    remat: bool
    dtype: Dtype
    scan: bool = False
    fast_gradient: bool = True

    def conv(self, features: int, dims: int, name: str, **how: Any) -> nn.Module:
        """`layers.conv` with these options."""
        return conv(features, dims, name, dtype=self.dtype, fast_gradient=self.fast_gradient, **how)


class ResBlock(nn.Module):
    """norm, SiLU, conv, + projected time, norm, SiLU, conv (zero at first), + x. resample: "none", "up" or "down"."""

    features: int
    options: BlockOptions
    resample: str = "none"

    @nn.compact
    def __call__(self, x: Features, embedding: Embedding) -> Features:
        o, dims = self.options, x.ndim - 2
        change = {"none": lambda a: a, "up": upsample_nearest, "down": average_halves}[self.resample]
        y = change(nn.silu(GroupNorm(o.groups, o.eps, o.dtype, name="norm1")(x)))
        x = change(x)
        y = o.conv(self.features, dims, "conv1")(y)
        shift = nn.Dense(self.features, dtype=o.dtype, name="time_projection")(nn.silu(embedding))
        y = y + shift.reshape(shift.shape[0], *(1,) * dims, self.features)
        y = nn.silu(GroupNorm(o.groups, o.eps, o.dtype, name="norm2")(y))
        y = o.conv(self.features, dims, "conv2", zero=True)(y)
        if x.shape[-1] != self.features:
            x = o.conv(self.features, dims, "skip", kernel=1)(x)
        return x + y


class LevelAttention(nn.Module):
    """Plain self-attention, or a transformer over the context where the UNet has one."""

    head_channels: int
    options: BlockOptions

    @nn.compact
    def __call__(self, x: Features, context: Tokens | None, train: bool) -> Features:
        o = self.options
        shared = dict(
            head_channels=self.head_channels,
            groups=o.groups,
            eps=o.eps,
            combined=o.combined_linear,
            project=o.include_fc,
            dtype=o.dtype,
        )
        if not o.cross_attention:
            return SpatialSelfAttention(**shared, name="self")(x)
        transformer = SpatialTransformer(
            **shared,
            num_layers=o.transformer_num_layers,
            upcast=o.upcast_attention,
            dropout=o.dropout,
            scan=o.scan,
            name="transformer",
        )
        return transformer(x, context, train)


def res_block(features: int, options: BlockOptions, name: str, resample: str = "none") -> nn.Module:
    """A ResBlock, recomputed in the backward pass where the options say so (the same parameter paths)."""
    block = nn.remat(ResBlock) if options.remat else ResBlock
    return block(features, options, resample, name=name)


def level_attention(head_channels: int, options: BlockOptions, name: str) -> nn.Module:
    """A LevelAttention, recomputed in the backward pass where the options say so."""
    block = nn.remat(LevelAttention, static_argnums=(3,)) if options.remat else LevelAttention
    return block(head_channels, options, name=name)


class EqualBlock(nn.Module):
    """A residual block and its attention, as nn.scan repeats them: returns x as carry and as output."""

    features: int
    head_channels: int
    options: BlockOptions
    train: bool

    @nn.compact
    def __call__(self, x: Features, embedding: Embedding, context: Tokens | None) -> tuple[Features, Features]:
        x = res_block(self.features, self.options, "res")(x, embedding)
        if self.head_channels:
            x = level_attention(self.head_channels, self.options, "attention")(x, context, self.train)
        return x, x


class DownLevel(nn.Module):
    """Residual blocks with attention, then half the resolution; returns x and every state on the way."""

    features: int
    num_res_blocks: int
    head_channels: int  # 0: no attention
    last: bool
    options: BlockOptions

    @nn.compact
    def __call__(
        self, x: Features, embedding: Embedding, context: Tokens | None, train: bool
    ) -> tuple[Features, list[Features]]:
        o, states = self.options, []
        # The first block may widen x; those after it are equal.
        scanned = self.num_res_blocks - 1 if o.scan and self.num_res_blocks > 2 else 0
        for i in range(self.num_res_blocks - scanned):
            x = res_block(self.features, o, f"res_{i}")(x, embedding)
            if self.head_channels:
                x = level_attention(self.head_channels, o, f"attention_{i}")(x, context, train)
            states.append(x)
        if scanned:
            blocks = nn.scan(
                EqualBlock,
                variable_axes={"params": 0},
                split_rngs={"params": True, "dropout": True},
                in_axes=nn.broadcast,
                length=scanned,
            )(self.features, self.head_channels, o, train, name="blocks")
            x, each = blocks(x, embedding, context)
            states += list(each)
        if not self.last:
            if o.resblock_updown:
                x = res_block(self.features, o, "downsample", "down")(x, embedding)
            else:
                x = o.conv(self.features, x.ndim - 2, "downsample", stride=2)(x)
            states.append(x)
        return x, states


class MiddleLevel(nn.Module):
    """Residual block, attention (always), residual block."""

    features: int
    head_channels: int
    options: BlockOptions

    @nn.compact
    def __call__(self, x: Features, embedding: Embedding, context: Tokens | None, train: bool) -> Features:
        x = res_block(self.features, self.options, "res_0")(x, embedding)
        x = level_attention(self.head_channels, self.options, "attention_0")(x, context, train)
        return res_block(self.features, self.options, "res_1")(x, embedding)


class UpLevel(nn.Module):
    """Residual blocks with attention, each after one state of the way down, then twice the resolution."""

    features: int
    num_res_blocks: int
    head_channels: int  # 0: no attention
    last: bool
    options: BlockOptions

    @nn.compact
    def __call__(
        self, x: Features, states: list[Features], embedding: Embedding, context: Tokens | None, train: bool
    ) -> Features:
        """states: of this level in the order of the way down; the last is taken first."""
        o = self.options
        for i in range(self.num_res_blocks):
            x = jnp.concatenate([x, states[-1 - i]], axis=-1)
            x = res_block(self.features, o, f"res_{i}")(x, embedding)
            if self.head_channels:
                x = level_attention(self.head_channels, o, f"attention_{i}")(x, context, train)
        if not self.last:
            if o.resblock_updown:
                x = res_block(self.features, o, "upsample", "up")(x, embedding)
            else:
                x = o.conv(self.features, x.ndim - 2, "upsample")(upsample_nearest(x))
        return x
