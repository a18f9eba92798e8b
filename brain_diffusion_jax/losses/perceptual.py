"""Distance of images in the features of a fixed network, which the caller passes in."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from brain_diffusion_jax.array_types import Image, Key

# Images [b, *spatial, c] in [0, 1] to feature maps [b, *spatial, d], or vectors [b, d], of one or more layers.
FeatureFn = Callable[[Image], Sequence[Array]]
_EPS = 1e-10


def feature_distance(features: FeatureFn, output: Image, target: Image) -> Float[Array, " batch"]:
    """Squared distance of channel-normalised features, averaged over places and summed over layers.

    Each place's feature vector is scaled to length 1 first (Zhang et al. 2018, eq. 1, with weights of 1), so that no
    layer outweighs another. 0 for equal images, at most 4 a layer.
    """
    total = jnp.zeros(output.shape[0], jnp.float32)
    for mine, other in zip(features(output), features(target), strict=True):
        distance = jnp.sum(jnp.square(_unit(mine) - _unit(other)), axis=-1)
        total = total + distance.mean(axis=tuple(range(1, distance.ndim)))
    return total


def _unit(features: Array) -> Array:
    wide = features.astype(jnp.float32)
    return wide * jax.lax.rsqrt(jnp.sum(jnp.square(wide), axis=-1, keepdims=True) + _EPS)


def sliced_distance(
    features: FeatureFn, output: Image, target: Image, keys: Key, share: float = 0.25
) -> Float[Array, " batch"]:
    """`feature_distance` of volumes [b, x, y, z, c] by a network of 2D images: the mean over random slices.

    keys: one a sample, which draws that sample's slices. share: of the slices along each of the three axes, drawn
    with replacement, at least one an axis.
    """
    total = jnp.zeros(output.shape[0], jnp.float32)
    for axis in range(3):
        size = output.shape[1 + axis]
        count = max(1, round(share * size))
        own = jax.vmap(lambda key, axis=axis: jax.random.fold_in(key, axis))(keys)
        rows = jax.vmap(lambda key, count=count, size=size: jax.random.randint(key, (count,), 0, size))(own)

        def cut(volume: Image, rows: Array = rows, axis: int = axis) -> Image:
            chosen = jax.vmap(lambda one, at: jnp.moveaxis(jnp.take(one, at, axis=axis), axis, 0))(volume, rows)
            return chosen.reshape(-1, *chosen.shape[2:])

        found = feature_distance(features, cut(output), cut(target))
        total = total + found.reshape(-1, count).mean(axis=1)
    return total / 3
