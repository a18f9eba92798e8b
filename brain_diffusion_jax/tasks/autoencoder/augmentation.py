"""Crops and small random changes of images and volumes, drawn sample by sample inside the jitted step.

Apart from `training.augmentation`, which turns images and fills what comes from outside with 0: a crop has no black
border, so that its edges are repeated, and changes without a turn are one small matrix an axis.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from brain_diffusion_jax.array_types import Key
from brain_diffusion_jax.errors import InputError

Sample = Float[Array, "*spatial c"]


@dataclass(frozen=True)
class IntensityAndPlace:
    """What is drawn for each sample; 0 is off. mirror: probability of a left-right flip.

    shift, scale: up to so many pixels, and up to this share of the size, each axis its own. offset: added to the
    intensity, up to it either way. gamma: exponents from 1 - gamma to 1 + gamma. share: of the samples that each of
    place, offset and gamma changes. After Pinaya et al. 2022.
    """

    mirror: float = 0.5
    shift: float = 1.0
    scale: float = 0.02
    offset: float = 0.05
    gamma: float = 0.03
    share: float = 0.1

    def __post_init__(self) -> None:
        for name, most in (("mirror", 1), ("shift", 64), ("scale", 0.5), ("offset", 1), ("gamma", 0.9), ("share", 1)):
            value = getattr(self, name)
            if not 0 <= value <= most:
                raise InputError("config", f"augmentation.{name}", value, f"0 to {most}")


def crop(image: Sample, key: Key, size: int) -> Sample:
    """A random part of `size` pixels along each axis that is longer; every place is equally likely."""
    sizes = tuple(min(size, n) for n in image.shape[:-1])
    keys = jax.random.split(key, len(sizes))
    spare = zip(keys, image.shape[:-1], sizes, strict=True)
    starts = [jax.random.randint(k, (), 0, whole - part + 1) for k, whole, part in spare]
    return jax.lax.dynamic_slice(image, [*starts, 0], (*sizes, image.shape[-1]))


def augment(image: Sample, key: Key, how: IntensityAndPlace, mirror_axis: int | None) -> Sample:
    """One image in [0, 1], changed at random, in [0, 1] again; beyond its edges the edge is repeated.

    mirror_axis: the axis from left to right; None: no flips.
    """
    flip_key, place_key, tone_key = jax.random.split(key, 3)
    if how.mirror and mirror_axis is not None:
        flip = jax.random.bernoulli(flip_key, float(how.mirror))
        image = jnp.where(flip, jnp.flip(image, mirror_axis), image)
    if how.share and (how.shift or how.scale):
        image = _move(image, place_key, how)
    if not (how.share and (how.offset or how.gamma)):
        return image
    keys = jax.random.split(tone_key, 4)
    offset = how.offset * jax.random.uniform(keys[0], minval=-1.0, maxval=1.0)
    exponent = 1.0 + how.gamma * jax.random.uniform(keys[1], minval=-1.0, maxval=1.0)
    image = image + jnp.where(jax.random.bernoulli(keys[2], float(how.share)), offset, 0.0)
    # Clipped before the power: that of a negative number is no number.
    toned = jnp.maximum(image, 1e-6) ** jnp.where(jax.random.bernoulli(keys[3], float(how.share)), exponent, 1.0)
    return jnp.clip(toned, 0.0, 1.0)


def _move(image: Sample, key: Key, how: IntensityAndPlace) -> Sample:
    """Shifted and scaled by linear interpolation, one small matrix an axis: shift and scale do not mix the axes."""
    dims = image.ndim - 1
    shift_key, scale_key, share_key = jax.random.split(key, 3)
    moved = jax.random.bernoulli(share_key, float(how.share))
    shifts = how.shift * jax.random.uniform(shift_key, (dims,), minval=-1.0, maxval=1.0)
    zooms = 1.0 + how.scale * jax.random.uniform(scale_key, (dims,), minval=-1.0, maxval=1.0)
    for axis in range(dims):
        size = image.shape[axis]
        centre = (size - 1) / 2
        source = (jnp.arange(size) - centre) * jnp.where(moved, zooms[axis], 1.0) + centre
        source = jnp.clip(source + jnp.where(moved, shifts[axis], 0.0), 0, size - 1)
        weights = jnp.maximum(0.0, 1.0 - jnp.abs(source[:, None] - jnp.arange(size)))
        image = jnp.moveaxis(jnp.tensordot(weights, image, (1, axis)), 0, axis)
    return image
