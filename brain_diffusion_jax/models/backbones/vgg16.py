"""VGG16 without its classifier (Simonyan & Zisserman 2015), layer names as in keras.applications."""

from __future__ import annotations

import flax.linen as nn
from jaxtyping import Array, Float

from brain_diffusion_jax.models.backbones.trunk import Trunk

_BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


class VGG16(Trunk):
    """[b, rows, cols, 3] -> [b, rows//32, cols//32, 512 width]."""

    @nn.compact
    def __call__(self, x: Float[Array, "b rows cols 3"], train: bool = False) -> Float[Array, "b rows2 cols2 d"]:
        for block, convolutions in enumerate(_BLOCKS, start=1):
            for index, published in enumerate(convolutions, start=1):
                x = nn.relu(self.conv(x, self.channels(published), 3, f"block{block}_conv{index}"))
            x = nn.max_pool(x, (2, 2), (2, 2))
        return x
