"""MedicalNet's 3D ResNets (Chen et al. 2019) as feature extractors of volumes."""

from __future__ import annotations

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.models.convolution import convolve

Map = Float[Array, "b x y z c"]
# depth: (blocks of each stage, three convolutions a block, shortcuts with weights)
DEPTHS = {
    10: ((1, 1, 1, 1), False, True),
    18: ((2, 2, 2, 2), False, False),
    34: ((3, 4, 6, 3), False, False),
    50: ((3, 4, 6, 3), True, True),
}
_STAGES = ((64, 1, 1), (128, 2, 1), (256, 1, 2), (512, 1, 4))  # width, stride, dilation


def prepare_input(volumes: Float[Array, "b x y z 1"]) -> Float[Array, "b x y z 1"]:
    """Volumes with mean 0 and deviation 1 each, over all voxels, background included; constant ones become 0."""
    axes = (1, 2, 3, 4)
    centred = volumes - volumes.mean(axes, keepdims=True)
    # Not jnp.std: its gradient is NaN where all is equal, as in a reconstruction before the first update.
    return centred * jax.lax.rsqrt(jnp.square(centred).mean(axes, keepdims=True) + 1e-12)


class MedicalNet(nn.Module):
    """[b, x, y, z, 1], made by `prepare_input` -> maps of the four stages, at 1/4 and three times 1/8 of the size.

    depth: of DEPTHS. width: factor of the published channels. Batch statistics are the stored ones. For the Frechet
    distance pool the last map over space (2048 numbers at depth 50).
    """

    depth: int = 50
    width: float = 1.0

    @nn.compact
    def __call__(self, x: Map) -> tuple[Map, Map, Map, Map]:
        if self.depth not in DEPTHS:
            raise InputError("medicalnet", "depth", self.depth, f"one of {', '.join(map(str, DEPTHS))}")
        blocks, bottleneck, weighted = DEPTHS[self.depth]
        x = self._conv(x, round(64 * self.width), 7, "conv1", stride=2)
        x = nn.max_pool(nn.relu(_norm(x, "bn1")), (3, 3, 3), (2, 2, 2), padding=[(1, 1)] * 3)
        maps = []
        for stage, (count, (width, stride, dilation)) in enumerate(zip(blocks, _STAGES, strict=True), start=1):
            for index in range(count):
                step = stride if index == 0 else 1
                how = (round(width * self.width), step, dilation, bottleneck, weighted, f"layer{stage}_{index}")
                x = self._block(x, *how)
            maps.append(x)
        return tuple(maps)  # type: ignore[return-value]

    def _conv(self, x: Map, features: int, kernel: int, name: str, stride: int = 1, dilation: int = 1) -> Map:
        pad = (dilation * (kernel - 1) // 2,) * 2
        strides, dilations = (stride,) * 3, (dilation,) * 3
        make = partial(nn.Conv, use_bias=False, conv_general_dilated=convolve, name=name)
        return make(features, (kernel,) * 3, strides, [pad] * 3, kernel_dilation=dilations)(x)

    def _block(
        self, x: Map, width: int, stride: int, dilation: int, bottleneck: bool, weighted: bool, name: str
    ) -> Map:
        wide = 4 * width if bottleneck else width
        steps = [(width, 3, stride, dilation), (width, 3, 1, dilation)]
        if bottleneck:
            steps = [(width, 1, 1, 1), (width, 3, stride, dilation), (wide, 1, 1, 1)]
        y = x
        for index, (features, kernel, step, spread) in enumerate(steps, start=1):
            y = _norm(self._conv(y, features, kernel, f"{name}_conv{index}", step, spread), f"{name}_bn{index}")
            y = y if index == len(steps) else nn.relu(y)
        if stride > 1 or x.shape[-1] != wide:
            if weighted:
                x = self._conv(x, wide, 1, f"{name}_downsample_0", stride)
                x = _norm(x, f"{name}_downsample_1")
            else:  # every other voxel, and zeros for the new channels
                x = x[:, ::stride, ::stride, ::stride]
                x = jnp.pad(x, ((0, 0),) * 4 + ((0, wide - x.shape[-1]),))
        return nn.relu(x + y)


def _norm(x: Map, name: str) -> Map:
    return nn.BatchNorm(use_running_average=True, epsilon=1e-5, name=name)(x)
