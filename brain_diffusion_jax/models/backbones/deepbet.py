"""The encoder of deepbet's 3D LinkNet (Fisch et al. 2024), a network for brain extraction, as features of volumes."""

from __future__ import annotations

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.models.convolution import convolve

Map = Float[Array, "b x y z c"]
WIDTHS = (16, 32, 64, 128)  # of the stages, at 1/4, 1/8, 1/16 and 1/32 of the size
_EPS = 1e-5
_SMALL = 1e-12


def prepare_input(volumes: Float[Array, "b x y z 1"]) -> Float[Array, "b x y z 1"]:
    """Volumes as the network was trained on: clipped at their 0.5 and 99.5 % quantiles, mean 0.449, deviation 0.226.

    A constant volume becomes 0.449 everywhere.
    """
    axes = (1, 2, 3, 4)
    low, high = jnp.quantile(volumes, jnp.array([0.005, 0.995]), axis=axes, keepdims=True)
    unit = jnp.clip((volumes - low) / jnp.maximum(high - low, 1e-6), 0, 1)
    # Not jnp.std: its gradient is NaN where all is equal, as in a reconstruction before the first update.
    variance = jnp.var(unit, axis=axes, keepdims=True, ddof=1)
    return 0.226 * (unit - unit.mean(axes, keepdims=True)) * jax.lax.rsqrt(variance + _SMALL) + 0.449


class DeepbetEncoder(nn.Module):
    """[b, x, y, z, 1], made by `prepare_input` -> maps of the first `stages` stages (1 to 4).

    A convolution of 7 voxels and a max pool, each with stride 2, then in each stage two residual blocks of two
    convolutions of 3. Instance norms have no parameters and see whole maps, so that one voxel is too small a map.
    """

    stages: int = 4

    @nn.compact
    def __call__(self, x: Map) -> tuple[Map, ...]:
        _check(x.shape, self.stages)
        x = nn.relu(_norm(self._conv(x, WIDTHS[0], 7, 2, "init")))
        x = nn.max_pool(x, (3, 3, 3), (2, 2, 2), padding=[(1, 1)] * 3)
        maps = []
        for stage, width in enumerate(WIDTHS[: self.stages]):
            for block in (1, 2):
                x = self._block(x, width, 2 if stage and block == 1 else 1, f"down{stage}_block{block}")
            maps.append(x)
        return tuple(maps)

    def _conv(self, x: Map, features: int, kernel: int, stride: int, name: str) -> Map:
        pad = [(kernel // 2,) * 2] * 3
        make = partial(nn.Conv, use_bias=False, conv_general_dilated=convolve, name=name)
        return make(features, (kernel,) * 3, (stride,) * 3, pad)(x)

    def _block(self, x: Map, width: int, stride: int, name: str) -> Map:
        y = nn.relu(_norm(self._conv(x, width, 3, stride, f"{name}_conv1")))
        y = _norm(self._conv(y, width, 3, 1, f"{name}_conv2"))
        shortcut = x if stride == 1 else _norm(self._conv(x, width, 1, stride, f"{name}_shortcut"))
        return nn.relu(y + shortcut)


def _norm(x: Map) -> Map:
    """Each map of each volume with mean 0 and deviation 1."""
    centred = x - x.mean((1, 2, 3), keepdims=True)
    return centred / jnp.sqrt(jnp.square(centred).mean((1, 2, 3), keepdims=True) + _EPS)


def _check(shape: tuple[int, ...], stages: int) -> None:
    if not 1 <= stages <= len(WIDTHS):
        raise InputError("deepbet", "stages", stages, f"1 to {len(WIDTHS)}")
    if len(shape) != 5 or shape[-1] != 1:
        raise InputError("deepbet", "images", f"shape {list(shape)}", "volumes [n, x, y, z, 1]")
    smallest = 2 ** (1 + stages)  # that is one voxel in the last stage
    if max(shape[1:4]) <= smallest:
        raise InputError("deepbet", "images", f"shape {list(shape)}", f"an axis of more than {smallest} voxels")
