"""The discriminator of patches that sharpens an autoencoder's images (Isola et al. 2017, Esser et al. 2021)."""

from __future__ import annotations

from dataclasses import dataclass

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.models.layers import Dtype, Features, GroupNorm, conv
from brain_diffusion_jax.models.unet_config import DTYPES

_KERNEL = 4
_SLOPE = 0.2


@dataclass(frozen=True)
class DiscriminatorConfig:
    """channels: width of the first layer, doubled by each of num_layers normalised ones. norm: "group" | "none".

    norm_num_groups: of the group norms, which unlike batch norms work at a batch of 1. dtype: of the computation.
    """

    channels: int = 32
    num_layers: int = 3
    norm: str = "group"
    norm_num_groups: int = 8
    dtype: str = "float32"

    def __post_init__(self) -> None:
        for field, right, expected in (
            ("num_layers", self.num_layers >= 1, "1 or more"),
            ("norm", self.norm in ("group", "none"), "group or none"),
            ("dtype", self.dtype in DTYPES, f"one of {', '.join(DTYPES)}"),
            ("norm_num_groups", self.channels * 2 % self.norm_num_groups == 0, f"a divisor of {self.channels * 2}"),
        ):
            if not right:
                raise InputError("config", f"discriminator.{field}", getattr(self, field), expected)

    @property
    def compute_dtype(self) -> Dtype:
        """The JAX dtype that `dtype` names."""
        return DTYPES[self.dtype]

    @property
    def smallest_size(self) -> int:
        """The fewest pixels along an axis that leave one score."""
        return int(2**self.num_layers * 3)


class PatchDiscriminator(nn.Module):
    """Scores of overlapping patches, higher for real ones.

    Convolutions of size 4 with 1 zero on both sides: the first (stride 2, no norm) and num_layers normalised ones
    (stride 2, the last 1) each with LeakyReLU 0.2, then one to a single channel.
    """

    config: DiscriminatorConfig = DiscriminatorConfig()

    @nn.compact
    def __call__(self, x: Features) -> tuple[list[Features], Float[Array, "batch *patches 1"]]:
        """(features of every layer, scores in float32). Raises ValueError for an image below config.smallest_size."""
        c, dims, dtype = self.config, x.ndim - 2, self.config.compute_dtype
        if min(x.shape[1:-1]) < c.smallest_size:
            raise ValueError(f"x has shape {x.shape}; expected {c.smallest_size} pixels or more along each axis")
        shared = dict(kernel=_KERNEL, dtype=dtype, kernel_init=nn.initializers.normal(0.02))
        x = nn.leaky_relu(conv(c.channels, dims, "conv_in", stride=2, **shared)(x.astype(dtype)), _SLOPE)
        features = [x]
        for i in range(c.num_layers):
            stride = 1 if i == c.num_layers - 1 else 2
            bias = None if c.norm == "group" else 0.0  # the norm has its own
            x = conv(c.channels * 2 ** (i + 1), dims, f"conv_{i}", stride=stride, bias=bias, **shared)(x)
            if c.norm == "group":
                x = GroupNorm(c.norm_num_groups, 1e-5, dtype, name=f"norm_{i}")(x)
            x = nn.leaky_relu(x, _SLOPE)
            features.append(x)
        return features, conv(1, dims, "conv_out", **shared)(x).astype(jnp.float32)
