"""SFCN, the fully convolutional age and sex network of volumes (Peng et al. 2021), without its classifier."""

from __future__ import annotations

from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.models.backbones.trunk import Trunk

_CHANNELS = (32, 64, 128, 256, 256, 64)


def halve_volume(x: Float[Array, "b x y z c"]) -> Float[Array, "b x2 y2 z2 c"]:
    """2x2x2 max pooling; a last odd plane is dropped, as in torch.

    By reshaping: the gradient of a reduce-window takes nine times as long on a CPU.
    """
    batch, *sizes, channels = x.shape
    halves = [size // 2 for size in sizes]
    x = x[:, : 2 * halves[0], : 2 * halves[1], : 2 * halves[2]]
    return x.reshape(batch, halves[0], 2, halves[1], 2, halves[2], 2, channels).max((2, 4, 6))


class Sfcn(Trunk):
    """[b, x, y, z, 1], each side at least 32 -> [b, x/32, y/32, z/32, 64 width]; 2.9 M parameters at width 1.

    Five blocks of 3x3x3 convolution, batch normalisation, 2x2x2 max pooling, ReLU and one of 1x1x1 without pooling.
    published: channels of the blocks; the sex model has others, and fewer blocks take smaller volumes. mean_scaled:
    divide each volume by its mean, as the published weights expect. momentum: of batch statistics.
    """

    spatial_dims: ClassVar[int] = 3
    published: tuple[int, ...] = _CHANNELS
    mean_scaled: bool = True
    momentum: float = 0.9

    @property
    def in_channels(self) -> int:
        return 1

    @nn.compact
    def __call__(self, x: Float[Array, "b x y z 1"], train: bool = False) -> Float[Array, "b x2 y2 z2 d"]:
        last = len(self.published) - 1
        if min(x.shape[1:4]) < 2**last:
            raise InputError("sfcn", "images", x.shape, f"{2**last} voxels or more along each axis")
        if self.mean_scaled:
            mean = jnp.mean(x.astype(jnp.float32), axis=(1, 2, 3, 4), keepdims=True)
            x = (x / jnp.maximum(mean, 1e-6)).astype(self.dtype)
        for index, channels in enumerate(self.published):
            kernel = 3 if index < last else 1
            x = self.conv(x, self.channels(channels), kernel, f"conv_{index}")
            x = self.norm(x, f"norm_{index}", train, momentum=self.momentum)
            x = nn.relu(halve_volume(x) if index < last else x)
        return x
