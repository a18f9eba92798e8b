"""Losses of a reconstruction, against torch and against a pyramid written out in float64."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.losses import reconstruction

RNG = np.random.default_rng(0)


def pair(*shape: int):
    return RNG.random(shape).astype(np.float32), RNG.random(shape).astype(np.float32)


@pytest.mark.parity
@pytest.mark.parametrize("shape", [(3, 8, 7, 2), (2, 5, 6, 7, 1)])
def test_l1_and_mse_equal_those_of_torch(shape):
    torch = pytest.importorskip("torch")
    a, b = pair(*shape)
    x, y = (torch.tensor(v, requires_grad=True) for v in (a, b))
    for mine, theirs in ((reconstruction.l1, torch.nn.functional.l1_loss), (reconstruction.mse, torch.nn.MSELoss())):
        value, gradient = jax.value_and_grad(lambda v, mine=mine: mine(v, jnp.asarray(b)).mean())(jnp.asarray(a))
        expected = theirs(x, y)
        (expected_gradient,) = torch.autograd.grad(expected, x)
        assert float(value) == pytest.approx(expected.item(), rel=1e-6)
        np.testing.assert_allclose(gradient, expected_gradient, atol=1e-7)
    each = [theirs(x[i], y[i]).item() for i in range(shape[0])]
    np.testing.assert_allclose(reconstruction.mse(jnp.asarray(a), jnp.asarray(b)), each, rtol=1e-5)


def _matrices(size: int) -> tuple[np.ndarray, np.ndarray]:
    """(reduce, expand) along an axis of `size` pixels, as matrices."""
    taps, half = np.array([1, 4, 6, 4, 1]) / 16, -(-size // 2)
    down, up = np.zeros((half, size)), np.zeros((size, half))
    for row in range(half):
        for tap, weight in zip(range(-2, 3), taps, strict=True):
            down[row, np.clip(2 * row + tap, 0, size - 1)] += weight
    for row in range(size):
        for tap, weight in zip(range(-2, 3), taps, strict=True):
            if (row + tap) % 2 == 0:
                up[row, np.clip((row + tap) // 2, 0, half - 1)] += 2 * weight
    return down, up


@pytest.mark.parametrize("shape", [(2, 9, 8, 1), (1, 8, 7, 6, 2)])
def test_the_pyramid_is_that_of_burt_and_adelson_in_float64(shape):
    a, b = pair(*shape)
    rest, expected = a.astype(np.float64) - b, 0.0
    for _ in range(2):
        coarse = rest
        for axis in range(1, rest.ndim - 1):
            down, _ = _matrices(rest.shape[axis])
            coarse = np.moveaxis(np.tensordot(down, coarse, (1, axis)), 0, axis)
        fine = coarse
        for axis in range(1, rest.ndim - 1):
            _, up = _matrices(rest.shape[axis])
            fine = np.moveaxis(np.tensordot(up, fine, (1, axis)), 0, axis)
        expected, rest = expected + np.abs(rest - fine).mean(tuple(range(1, rest.ndim))), coarse
    expected = expected + np.abs(rest).mean(tuple(range(1, rest.ndim)))
    np.testing.assert_allclose(reconstruction.laplacian_l1(jnp.asarray(a), jnp.asarray(b)), expected, rtol=1e-5)


def test_a_constant_difference_stays_in_the_last_band():
    x = jnp.zeros((1, 8, 8, 1))
    for levels in (1, 2, 4):
        assert float(reconstruction.laplacian_l1(x + 0.25, x, levels)[0]) == pytest.approx(0.25)
    with pytest.raises(InputError, match="levels: found 0; expected 1 or more"):
        reconstruction.laplacian_l1(x, x, 0)
