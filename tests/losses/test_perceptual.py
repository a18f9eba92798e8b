"""Distances in features: normalised by channel, 0 for equal images, slices drawn sample by sample."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from brain_diffusion_jax.losses import perceptual
from brain_diffusion_jax.training.step import sample_keys

WEIGHTS = jnp.asarray(np.random.default_rng(1).normal(size=(3, 3, 1, 4)), jnp.float32)


def features(images):
    """Two layers: a convolution, and a global vector."""
    dims = ("NHWC", "HWIO", "NHWC")
    first = jax.lax.conv_general_dilated(images, WEIGHTS, (1, 1), "SAME", dimension_numbers=dims)
    return [first, jnp.tanh(first).mean((1, 2))]


def test_it_is_the_squared_distance_of_unit_vectors_in_float64():
    rng = np.random.default_rng(0)
    a, b = (rng.random((2, 6, 5, 1)).astype(np.float32) for _ in range(2))
    expected = np.zeros(2)
    for x, y in zip(features(jnp.asarray(a)), features(jnp.asarray(b)), strict=True):
        x, y = (np.asarray(v, np.float64) for v in (x, y))
        x, y = (v / np.linalg.norm(v, axis=-1, keepdims=True) for v in (x, y))
        gap = np.square(x - y).sum(-1)
        expected += gap.reshape(2, -1).mean(1)
    found = perceptual.feature_distance(features, jnp.asarray(a), jnp.asarray(b))
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    np.testing.assert_allclose(perceptual.feature_distance(features, jnp.asarray(a), jnp.asarray(a)), 0.0)


def test_features_of_black_are_no_nan():
    black = jnp.zeros((1, 4, 4, 1))
    value, gradient = jax.value_and_grad(lambda x: perceptual.feature_distance(features, x, black).sum())(black)
    assert float(value) == 0.0
    assert bool(jnp.isfinite(gradient).all())


def test_slices_of_a_volume_are_of_all_three_axes_and_of_each_sample_alone():
    seen = []

    def shapes(images):
        seen.append(images.shape)
        return [images]

    rng = np.random.default_rng(0)
    a, b = (jnp.asarray(rng.random((3, 8, 6, 4, 2)), jnp.float32) for _ in range(2))
    keys = sample_keys(jax.random.key(2), jnp.arange(3))
    found = perceptual.sliced_distance(shapes, a, b, keys)
    assert seen[::2] == [(6, 6, 4, 2), (6, 8, 4, 2), (3, 8, 6, 2)]
    alone = perceptual.sliced_distance(shapes, a[1:2], b[1:2], keys[1:2])
    np.testing.assert_allclose(alone[0], found[1], rtol=1e-6)
    # Both images are cut at the same places; every slice seen is one of the volume's.
    np.testing.assert_allclose(perceptual.sliced_distance(shapes, a, a, keys), 0.0)


def test_every_slice_of_an_axis_can_be_drawn():
    marked = jnp.arange(4.0).reshape(1, 4, 1, 1, 1) * jnp.ones((1, 4, 4, 4, 1))
    drawn = set()

    def look(images):
        drawn.update(np.unique(np.asarray(images[:, 0, 0, 0])).tolist() if len(images) == 1 else [])
        return [images]

    for seed in range(40):
        perceptual.sliced_distance(look, marked, marked, sample_keys(jax.random.key(seed), jnp.arange(1)))
    assert drawn == {0.0, 1.0, 2.0, 3.0}
