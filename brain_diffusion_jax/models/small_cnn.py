"""Small backbones that learn age from slices, or from volumes, in minutes on two CPU cores."""

from __future__ import annotations

from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from brain_diffusion_jax.models.backbones.trunk import Trunk

_CHANNELS = (24, 48, 96, 128)
_POOL = 4
# Added under the square root, which spreads small fractions of tissue and has an infinite slope at 0.
_ROOT_OFFSET = 1e-3


def tissue_fractions(
    x: Float[Array, "b *spatial 1"], bins: int, low: float, high: float
) -> Float[Array, "b *spatial2 bins"]:
    """Square roots of the fractions of `bins` grey levels in blocks of 4x4(x4) pixels: a local soft histogram.

    Levels are spread evenly over [low, high] of the unit range, each pixel divided linearly between
    the two nearest. Darker pixels count as `low`, so that noise of the background is not tissue.
    """
    level = jnp.clip((x - low) / (high - low), 0.0, 1.0) * (bins - 1)
    fractions = jnp.maximum(1.0 - jnp.abs(level - jnp.arange(bins)), 0.0)
    block = (_POOL,) * (x.ndim - 2)
    return jnp.sqrt(nn.avg_pool(fractions, block, block, "SAME") + _ROOT_OFFSET)


def halve(x: Float[Array, "b *spatial c"]) -> Float[Array, "b *spatial2 c"]:
    """2x2(x2) max pooling, odd sizes rounded up.

    By reshaping: the gradient of a reduce-window takes nine times as long on a CPU.
    """
    batch, *sizes, channels = x.shape
    x = jnp.pad(x, ((0, 0), *((0, size % 2) for size in sizes), (0, 0)), constant_values=-jnp.inf)
    split = [part for size in sizes for part in ((size + 1) // 2, 2)]
    return x.reshape(batch, *split, channels).max(tuple(range(2, 2 + 2 * len(sizes), 2)))


class SmallCnn(Trunk):
    """[b, rows, cols, 1] -> [b, rows/16, cols/16, 128 width]; 0.16 M parameters at width 1.

    Blocks of 3x3 convolution, batch normalisation, ReLU, 2x2 max pooling, after SFCN (Peng et al. 2021),
    cut to two dimensions. tissue_bins: 0 begins with a 5x5
    convolution of stride 2; more with `tissue_fractions` of so many grey levels in [tissue_low, tissue_high],
    which needs a third of the time and far fewer people to learn where fluid is.
    Batch statistics have momentum 0.9, so that they follow the weights closely.
    """

    tissue_bins: int = 0
    tissue_low: float = 0.03
    tissue_high: float = 1.0

    @property
    def in_channels(self) -> int:
        return 1

    @nn.compact
    def __call__(self, x: Float[Array, "b *spatial 1"], train: bool = False) -> Float[Array, "b *spatial2 d"]:
        if self.tissue_bins:
            x = tissue_fractions(x, self.tissue_bins, self.tissue_low, self.tissue_high).astype(self.dtype)
        for index, published in enumerate(_CHANNELS):
            last = index == len(_CHANNELS) - 1
            if index == 0 and self.tissue_bins:
                continue
            kernel, stride = (5, 2) if index == 0 else (3, 1)
            x = self.conv(x, self.channels(published), kernel, f"conv{index}", stride=stride, bias=False)
            x = nn.relu(self.norm(x, f"norm{index}", train, momentum=0.9))
            if not last:
                x = halve(x)
        return x


class SmallVolumeCnn(SmallCnn):
    """`SmallCnn` of volumes: [b, x, y, z, 1] -> [b, x/16, y/16, z/16, 128 width]; 0.47 M parameters at width 1."""

    spatial_dims: ClassVar[int] = 3
