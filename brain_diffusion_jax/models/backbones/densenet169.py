"""DenseNet169 without its classifier (Huang et al. 2017), layer names as in keras.applications."""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from brain_diffusion_jax.models.backbones.trunk import Trunk

_BLOCKS = (6, 12, 32, 32)
_GROWTH = 32


class DenseNet169(Trunk):
    """[b, rows, cols, 3] -> [b, ~rows/32, ~cols/32, 1664 width].

    final_relu: ReLU after the last normalisation; some early keras_applications lack it.
    """

    final_relu: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "b rows cols 3"], train: bool = False) -> Float[Array, "b rows2 cols2 d"]:
        growth = self.channels(_GROWTH)
        x = self.conv(x, self.channels(64), 7, "conv1_conv", stride=2, padding=((3, 3), (3, 3)), bias=False)
        x = nn.relu(self.norm(x, "conv1_bn", train))
        x = nn.max_pool(jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))), (3, 3), (2, 2))
        for stage, layers in enumerate(_BLOCKS, start=2):
            for block in range(1, layers + 1):
                name = f"conv{stage}_block{block}"
                y = nn.relu(self.norm(x, f"{name}_0_bn", train))
                y = self.conv(y, 4 * growth, 1, f"{name}_1_conv", bias=False)
                y = nn.relu(self.norm(y, f"{name}_1_bn", train))
                y = self.conv(y, growth, 3, f"{name}_2_conv", bias=False)
                x = jnp.concatenate([x, y], axis=-1)
            if stage < len(_BLOCKS) + 1:
                x = nn.relu(self.norm(x, f"pool{stage}_bn", train))
                x = self.conv(x, x.shape[-1] // 2, 1, f"pool{stage}_conv", bias=False)
                x = nn.avg_pool(x, (2, 2), (2, 2))
        x = self.norm(x, "bn", train)
        return nn.relu(x) if self.final_relu else x
