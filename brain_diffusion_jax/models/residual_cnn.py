"""A small residual backbone: more accurate than `small_cnn` on varied images, for three times the time."""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from brain_diffusion_jax.models.backbones.trunk import Trunk
from brain_diffusion_jax.models.layers import pad_to_multiple, space_to_depth

_CHANNELS = (32, 64, 128)


class ResidualCnn(Trunk):
    """[b, rows, cols, 1] -> [b, rows/8, cols/8, 128 width]; 0.3 M parameters with one block per stage.

    Residual blocks of two 3x3 convolutions with batch normalisation (He et al. 2016) in three stages,
    on 2x2 patches of the image, with a 2x2 mean between the stages, which a CPU differentiates faster
    than strided convolutions. blocks: of each stage.
    """

    blocks: int = 1

    @property
    def in_channels(self) -> int:
        return 1

    @nn.compact
    def __call__(self, x: Float[Array, "b rows cols 1"], train: bool = False) -> Float[Array, "b rows2 cols2 d"]:
        x = space_to_depth(pad_to_multiple(x, 8)[0], 2)
        x = self._conv_norm(x, self.channels(_CHANNELS[0]), 3, "stem", train)
        x = nn.relu(x)
        for stage, published in enumerate(_CHANNELS):
            if stage:
                x = nn.avg_pool(x, (2, 2), (2, 2))
            for block in range(self.blocks):
                x = self._block(x, self.channels(published), f"stage{stage}_block{block}", train)
        return x

    def _conv_norm(
        self, x: Float[Array, "b rows cols c"], channels: int, kernel: int, name: str, train: bool
    ) -> Float[Array, "b rows cols d"]:
        x = self.conv(x, channels, kernel, f"{name}_conv", bias=False)
        return self.norm(x, f"{name}_norm", train, momentum=0.9)

    def _block(
        self, x: Float[Array, "b rows cols c"], channels: int, name: str, train: bool
    ) -> Float[Array, "b rows cols d"]:
        y = nn.relu(self._conv_norm(x, channels, 3, f"{name}_0", train))
        y = self._conv_norm(y, channels, 3, f"{name}_1", train)
        if x.shape[-1] != channels:
            x = self._conv_norm(x, channels, 1, f"{name}_skip", train)
        return jnp.maximum(x + y, 0)
