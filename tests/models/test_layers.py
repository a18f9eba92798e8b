"""Layers against their definitions."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from brain_diffusion_jax.models import layers
from brain_diffusion_jax.models.layers import coordinate_features
from tests.models.random_weights import cheaply, randomised


@pytest.mark.parametrize(("sizes", "multiple"), [((5, 8), 4), ((1, 3), 2), ((3, 4, 7), 4)])
def test_padding_reaches_the_multiple_and_comes_off_again(sizes: tuple[int, ...], multiple: int) -> None:
    x = np.random.default_rng(0).standard_normal((2, *sizes, 3)).astype(np.float32)
    padded, inside = layers.pad_to_multiple(jnp.asarray(x), multiple)
    assert all(p % multiple == 0 and 0 <= p - s < multiple for p, s in zip(padded.shape[1:-1], sizes, strict=True))
    np.testing.assert_array_equal(padded[inside], x)
    assert {float(v) for v in np.ravel(padded)} <= {float(v) for v in np.ravel(x)}  # edges repeated, nothing new


@pytest.mark.parametrize(("sizes", "patch"), [((4, 6), 2), ((3, 6), 3), ((4, 2, 6), 2)])
def test_patches_keep_neighbours_together_and_invert(sizes: tuple[int, ...], patch: int) -> None:
    x = jnp.arange(np.prod(sizes) * 2 * 3.0).reshape(2, *sizes, 3)
    deep = layers.space_to_depth(x, patch)
    assert deep.shape == (2, *(s // patch for s in sizes), 3 * patch ** len(sizes))
    np.testing.assert_array_equal(layers.depth_to_space(deep, patch), x)
    corner = x[(0, *(slice(patch),) * len(sizes))]
    np.testing.assert_array_equal(deep[(0, *(0,) * len(sizes))], corner.reshape(-1))


def test_group_norm_is_the_definition_also_far_from_zero() -> None:
    """A mean of 1000 with a spread of 0.1 is where E[x^2] - E[x]^2 fails in float32."""
    x = 1000 + 0.1 * np.random.default_rng(0).standard_normal((2, 5, 4, 8))
    norm = layers.GroupNorm(groups=2, eps=1e-6)
    params = {"params": {"scale": jnp.arange(8.0), "bias": jnp.ones(8)}}
    y = norm.apply(params, jnp.asarray(x, jnp.float32))
    groups = np.asarray(np.float32(x), np.float64).reshape(2, 20, 2, 4)
    wanted = groups - groups.mean(axis=(1, 3), keepdims=True)
    wanted /= np.sqrt((wanted**2).mean(axis=(1, 3), keepdims=True) + 1e-6)
    # The folded multiply-add costs digits of the mean, 1000 / 0.1 * 2^-24.
    np.testing.assert_allclose(y, wanted.reshape(x.shape) * np.arange(8.0) + 1, atol=2e-2)


@pytest.mark.parametrize("dims", [2, 3])
def test_a_convolution_of_size_one_is_that_of_flax(dims: int) -> None:
    x = jax.random.normal(jax.random.key(0), (2, *(5, 4, 3)[:dims], 6))
    ours, flax = layers.conv(4, dims, "c", kernel=1), nn.Conv(4, (1,) * dims)
    params = ours.init(jax.random.key(1), x)
    jax.tree.map(np.testing.assert_array_equal, params, flax.init(jax.random.key(1), x))
    params = jax.tree.map(lambda leaf: leaf + 0.1, params)
    np.testing.assert_allclose(ours.apply(params, x), flax.apply(params, x), atol=1e-5)
    half = layers.conv(4, dims, "c", kernel=1, dtype=jnp.bfloat16).apply(params, x)
    assert half.dtype == jnp.bfloat16


def test_resampling() -> None:
    x = jnp.arange(6.0).reshape(1, 2, 3, 1)
    up = layers.upsample_nearest(x)
    assert up.shape == (1, 4, 6, 1)
    np.testing.assert_array_equal(up[0, :, :, 0][::2, ::2], x[0, :, :, 0])
    np.testing.assert_array_equal(layers.average_halves(up), x)
    assert layers.average_halves(jnp.ones((1, 5, 4, 3, 2))).shape == (1, 2, 2, 1, 2)


def test_every_place_has_features_of_its_own():
    found = np.asarray(coordinate_features((5, 7), 3))
    assert found.shape == (1, 5, 7, 12)
    flat = found.reshape(35, -1)
    distance = np.linalg.norm(flat[:, None] - flat[None], axis=-1)
    assert distance[~np.eye(35, dtype=bool)].min() > 0.1
    assert np.abs(found).max() <= 1 + 1e-6


@pytest.mark.parametrize("sizes", [(5, 4), (1, 3), (3, 2, 5), (1, 1, 2)])
def test_upsampling_folded_into_its_convolution(sizes):
    """Output and gradients of the same parameters, in float64, and under vmap."""
    dims = len(sizes)
    with jax.enable_x64(True):
        x = jnp.asarray(np.random.default_rng(0).standard_normal((2, *sizes, 3)))
        plain = nn.Conv(4, (3,) * dims, padding=[(1, 1)] * dims, param_dtype=jnp.float64)
        params = randomised(plain, x, dtype=np.float64)

        def slow(params, x):
            return plain.apply(params, layers.upsample_nearest(x))

        def found(fast):
            module = layers.UpsampleConv(4, dims, fast_gradient=fast)
            return lambda params, x: module.apply(params, x)

        def results(call):
            def loss(params, x):
                y = call(params, x)
                return jnp.sum(jnp.sin(y)), y

            each = jax.vmap(lambda one: call(params, one[None])[0])
            return cheaply(lambda p, x: (jax.grad(loss, (0, 1), has_aux=True)(p, x), each(x)), params, x)

        wanted = results(slow)
        for fast in (True, False):
            jax.tree.map(
                lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12), results(found(fast)), wanted
            )
