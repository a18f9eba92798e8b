"""How far a reconstruction is from its image: one number a sample, averaged over pixels."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from brain_diffusion_jax.array_types import Image
from brain_diffusion_jax.errors import InputError

PerSample = Float[Array, " batch"]


def _mean(values: Image) -> PerSample:
    return values.mean(axis=tuple(range(1, values.ndim)))


def l1(output: Image, target: Image) -> PerSample:
    """Mean |output - target| of each sample."""
    return _mean(jnp.abs(output.astype(jnp.float32) - target.astype(jnp.float32)))


def mse(output: Image, target: Image) -> PerSample:
    """Mean (output - target)^2 of each sample."""
    return _mean(jnp.square(output.astype(jnp.float32) - target.astype(jnp.float32)))


def laplacian_l1(output: Image, target: Image, levels: int = 3) -> PerSample:
    """Sum over the bands of a Laplacian pyramid of the mean |difference| of each (Burt & Adelson 1983).

    The last of the `levels` bands is what is left after the others. Bands have fewer pixels the coarser they are, so
    that every band counts alike, as in Bojanowski et al. 2018, eq. 2. The pyramid is linear: that of the difference is
    the difference of the pyramids. Raises InputError for fewer than one level.
    """
    if levels < 1:
        raise InputError("losses", "levels", levels, "1 or more")
    rest = output.astype(jnp.float32) - target.astype(jnp.float32)
    total = jnp.zeros(rest.shape[0], jnp.float32)
    for _ in range(levels - 1):
        coarse = rest
        for axis in range(1, rest.ndim - 1):
            coarse = _reduce(coarse, axis)
        fine = coarse
        for axis in range(1, rest.ndim - 1):
            fine = _expand(fine, axis, rest.shape[axis])
        total, rest = total + _mean(jnp.abs(rest - fine)), coarse
    return total + _mean(jnp.abs(rest))


def _reduce(x: Array, axis: int) -> Array:
    """Every second pixel along an axis after the filter (1, 4, 6, 4, 1) / 16; edges are repeated."""
    x = jnp.moveaxis(x, axis, -1)
    size = -(-x.shape[-1] // 2)
    padded = jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(2, 3)], mode="edge")
    parts = [padded[..., k : k + 2 * size : 2] for k in range(5)]
    return jnp.moveaxis((parts[0] + parts[4] + 4 * (parts[1] + parts[3]) + 6 * parts[2]) / 16, -1, axis)


def _expand(x: Array, axis: int, size: int) -> Array:
    """Twice as many pixels along an axis, cut to `size`: the same filter over pixels with zeros between, times 2."""
    x = jnp.moveaxis(x, axis, -1)
    padded = jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(1, 1)], mode="edge")
    before, here, after = padded[..., :-2], padded[..., 1:-1], padded[..., 2:]
    pairs = jnp.stack([(before + 6 * here + after) / 8, (here + after) / 2], axis=-1)
    return jnp.moveaxis(pairs.reshape(*x.shape[:-1], -1)[..., :size], -1, axis)
