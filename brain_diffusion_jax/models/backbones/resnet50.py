"""ResNet50 without its classifier (He et al. 2016), as in keras.applications: stride on the first 1x1."""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from brain_diffusion_jax.models.backbones.trunk import Trunk

_STAGES = ((64, 3), (128, 4), (256, 6), (512, 3))


class ResNet50(Trunk):
    """[b, rows, cols, 3] -> [b, ~rows/32, ~cols/32, 2048 width].

    pool_padding: zeros around the map before the first pooling (keras_applications >= 1.0.3); older
    files pool the bare map.
    """

    pool_padding: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "b rows cols 3"], train: bool = False) -> Float[Array, "b rows2 cols2 d"]:
        x = self.conv(x, self.channels(64), 7, "conv1_conv", stride=2, padding=((3, 3), (3, 3)))
        x = nn.relu(self.norm(x, "conv1_bn", train))
        if self.pool_padding:
            x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        x = nn.max_pool(x, (3, 3), (2, 2))
        for stage, (published, blocks) in enumerate(_STAGES, start=2):
            for block in range(1, blocks + 1):
                stride = 2 if block == 1 and stage > 2 else 1
                x = self._block(x, published, stride, f"conv{stage}_block{block}", block == 1, train)
        return x

    def _block(
        self, x: Float[Array, "b rows cols c"], published: int, stride: int, name: str, project: bool, train: bool
    ) -> Float[Array, "b rows2 cols2 d"]:
        narrow, wide = self.channels(published), self.channels(4 * published)
        shortcut = x
        if project:
            shortcut = self.norm(self.conv(x, wide, 1, f"{name}_0_conv", stride=stride), f"{name}_0_bn", train)
        y = nn.relu(self.norm(self.conv(x, narrow, 1, f"{name}_1_conv", stride=stride), f"{name}_1_bn", train))
        y = nn.relu(self.norm(self.conv(y, narrow, 3, f"{name}_2_conv"), f"{name}_2_bn", train))
        y = self.norm(self.conv(y, wide, 1, f"{name}_3_conv"), f"{name}_3_bn", train)
        return nn.relu(shortcut + y)
