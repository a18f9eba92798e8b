"""A small backbone that learns age from slices in minutes on two CPU cores."""

from __future__ import annotations

import flax.linen as nn
from jaxtyping import Array, Float

from brain_diffusion_jax.models.backbones.trunk import Trunk

_CHANNELS = (24, 48, 96, 128)


class SmallCnn(Trunk):
    """[b, rows, cols, 1] -> [b, rows/16, cols/16, 128 width]; 0.16 M parameters at width 1.

    Blocks of 3x3 convolution, batch normalisation, ReLU, 2x2 max pooling; the first convolution has
    stride 2 and kernel 5, because full resolution triples the time and adds nothing at 2 mm. The plan
    follows SFCN (Peng et al. 2021, doi 10.1016/j.media.2020.101871), cut to two dimensions. Statistics
    move quickly (momentum 0.9), so that they fit the weights of the moment.
    """

    @property
    def in_channels(self) -> int:
        return 1

    @nn.compact
    def __call__(self, x: Float[Array, "b rows cols 1"], train: bool = False) -> Float[Array, "b rows2 cols2 d"]:
        for index, published in enumerate(_CHANNELS):
            first, last = index == 0, index == len(_CHANNELS) - 1
            channels = self.channels(published)
            x = self.conv(x, channels, 5 if first else 3, f"conv{index}", stride=2 if first else 1, bias=False)
            x = nn.relu(self.norm(x, f"norm{index}", train, momentum=0.9))
            if not last:
                x = nn.max_pool(x, (2, 2), (2, 2), "SAME")
        return x
