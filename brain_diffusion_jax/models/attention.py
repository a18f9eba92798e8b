"""Attention over the positions of an image or volume, to itself or to the tokens of a context."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from brain_diffusion_jax.array_types import SCANNED_LAYERS
from brain_diffusion_jax.models.layers import Dtype, Features, conv, norm

Tokens = Float[Array, "batch tokens width"]
_LAYER_NORM_EPS = 1e-5  # torch's; flax would take 1e-6


class Attention(nn.Module):
    """softmax(q k / sqrt(head_channels)) v over `heads`, projected to the width of x; softmax in float32.

    context None attends to x itself. combined: one dense layer for q, k and v (only without context).
    project: end with a dense layer. upcast: also q k in float32. dropout: of weights and output.
    """

    heads: int
    head_channels: int
    qkv_bias: bool = False
    combined: bool = False
    project: bool = True
    upcast: bool = False
    dropout: float = 0.0
    dtype: Dtype = None

    @nn.compact
    def __call__(self, x: Tokens, context: Tokens | None = None, train: bool = False) -> Tokens:
        inner = self.heads * self.head_channels

        def dense(name: str, source: Tokens, width: int) -> Tokens:
            return nn.Dense(width, use_bias=self.qkv_bias, dtype=self.dtype, name=name)(source)

        if self.combined:
            q, k, v = jnp.split(dense("qkv", x, 3 * inner), 3, axis=-1)
        else:
            source = x if context is None else context
            q, k, v = dense("to_q", x, inner), dense("to_k", source, inner), dense("to_v", source, inner)
        q, k, v = (a.reshape(*a.shape[:2], self.heads, self.head_channels) for a in (q, k, v))
        if self.upcast:
            q, k = q.astype(jnp.float32), k.astype(jnp.float32)
        logits = jnp.einsum("bqhd,bkhd->bhqk", q, k, preferred_element_type=jnp.float32)
        weights = jax.nn.softmax(logits * self.head_channels**-0.5, axis=-1).astype(v.dtype)
        weights = nn.Dropout(self.dropout, name="drop_weights")(weights, deterministic=not train)
        y = jnp.einsum("bhqk,bkhd->bqhd", weights, v).reshape(*x.shape[:2], inner)
        if self.project:
            y = nn.Dense(x.shape[-1], dtype=self.dtype, name="out_proj")(y)
        return nn.Dropout(self.dropout, name="drop_output")(y, deterministic=not train)


class TransformerLayer(nn.Module):
    """Pre-norm self-attention, attention to the context (to itself without one), gated MLP (GEGLU)."""

    heads: int
    head_channels: int
    combined: bool = False
    project: bool = True
    upcast: bool = False
    dropout: float = 0.0
    dtype: Dtype = None

    @nn.compact
    def __call__(self, x: Tokens, context: Tokens | None, train: bool = False) -> Tokens:
        def norm(name: str) -> nn.LayerNorm:
            return nn.LayerNorm(_LAYER_NORM_EPS, dtype=self.dtype, use_fast_variance=False, name=name)

        shared = dict(
            heads=self.heads,
            head_channels=self.head_channels,
            upcast=self.upcast,
            dropout=self.dropout,
            dtype=self.dtype,
        )
        itself = Attention(**shared, combined=self.combined, project=self.project, name="attn1")
        x = x + itself(norm("norm1")(x), train=train)
        x = x + Attention(**shared, name="attn2")(norm("norm2")(x), context, train=train)
        return x + self._mlp(norm("norm3")(x), train)

    def _mlp(self, x: Tokens, train: bool) -> Tokens:
        width = x.shape[-1]
        value, gate = jnp.split(nn.Dense(8 * width, dtype=self.dtype, name="ff_in")(x), 2, axis=-1)
        x = value * nn.gelu(gate, approximate=False)
        x = nn.Dropout(self.dropout, name="ff_drop_in")(x, deterministic=not train)
        x = nn.Dense(width, dtype=self.dtype, name="ff_out")(x)
        return nn.Dropout(self.dropout, name="ff_drop_out")(x, deterministic=not train)


class SpatialSelfAttention(nn.Module):
    """x + attention of the normalised x to itself; head_channels must divide the channels of x."""

    head_channels: int
    groups: int
    eps: float = 1e-6
    combined: bool = False
    project: bool = True
    dtype: Dtype = None

    @nn.compact
    def __call__(self, x: Features) -> Features:
        flat = norm(self.groups, self.eps, self.dtype, "norm")(x).reshape(x.shape[0], -1, x.shape[-1])
        attention = Attention(
            heads=x.shape[-1] // self.head_channels,
            head_channels=self.head_channels,
            qkv_bias=True,
            combined=self.combined,
            project=self.project,
            dtype=self.dtype,
            name="attn",
        )
        return x + attention(flat).reshape(x.shape)


class ScannedLayer(nn.Module):
    """A TransformerLayer(**settings) as nn.scan repeats it."""

    settings: dict[str, Any]
    train: bool

    @nn.compact
    def __call__(self, x: Tokens, context: Tokens | None) -> tuple[Tokens, None]:
        return TransformerLayer(**self.settings, name="layer")(x, context, self.train), None


def repeated(layer: type[nn.Module], times: int) -> Any:
    """`layer` scanned: its first argument is carried, its parameters are stacked, and it is compiled once."""
    return nn.scan(
        layer,
        variable_axes={"params": 0},
        split_rngs={"params": True, "dropout": True},
        in_axes=nn.broadcast,
        length=times,
    )


class SpatialTransformer(nn.Module):
    """x + a stack of transformer layers over its positions, which attend to the context (Rombach et al. 2022).

    Inside the width is heads * head_channels with heads = channels // head_channels. scan: the layers as
    one scanned layer, with their parameters stacked.
    """

    head_channels: int
    groups: int
    eps: float = 1e-6
    num_layers: int = 1
    combined: bool = False
    project: bool = True
    upcast: bool = False
    dropout: float = 0.0
    dtype: Dtype = None
    scan: bool = False

    @nn.compact
    def __call__(self, x: Features, context: Tokens | None, train: bool = False) -> Features:
        dims, channels = x.ndim - 2, x.shape[-1]
        heads = channels // self.head_channels
        inner = heads * self.head_channels
        y = norm(self.groups, self.eps, self.dtype, "norm")(x)
        y = conv(inner, dims, "proj_in", kernel=1, dtype=self.dtype, fast_gradient=False)(y).reshape(
            x.shape[0], -1, inner
        )
        shared = dict(
            heads=heads,
            head_channels=self.head_channels,
            combined=self.combined,
            project=self.project,
            upcast=self.upcast,
            dropout=self.dropout,
            dtype=self.dtype,
        )
        if self.scan and self.num_layers > 1:
            y, _ = repeated(ScannedLayer, self.num_layers)(shared, train, name=SCANNED_LAYERS)(y, context)
        else:
            for i in range(self.num_layers):
                y = TransformerLayer(**shared, name=f"layer_{i}")(y, context, train)
        y = y.reshape(*x.shape[:-1], inner)
        return x + conv(channels, dims, "proj_out", kernel=1, zero=True, dtype=self.dtype, fast_gradient=False)(y)
