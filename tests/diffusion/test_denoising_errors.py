"""scripts/denoising_errors.py: its two denoisers without a network, against what can be worked out."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from denoising_errors import LOG_SNRS, errors, gaussian, nearest

from brain_diffusion_jax.array_types import Level
from brain_diffusion_jax.diffusion.process import Process

PROCESS = Process()


def test_the_best_denoiser_of_two_codes_is_a_sigmoid() -> None:
    codes = np.array([[1.0, 0.0], [-1.0, 0.0]], np.float32)
    x, level = np.array([[0.3, 5.0], [-0.1, 2.0]], np.float32), Level(0.0, 0.6, 0.8)
    expected = np.tanh(level.alpha * x[:, 0] / level.sigma**2)
    np.testing.assert_allclose(nearest(codes)(jnp.asarray(x), level)[:, 0], expected, rtol=1e-5)


def test_the_linear_denoiser_is_that_of_the_covariance() -> None:
    rng = np.random.default_rng(0)
    codes = (rng.standard_normal((400, 3)) @ np.diag([3.0, 1.0, 0.2]) + [1, 2, 3]).astype(np.float32)
    x, level = rng.standard_normal((5, 3)).astype(np.float32), Level(0.0, 0.6, 0.8)
    covariance = np.cov(codes.T, bias=True)
    gain = level.alpha * covariance @ np.linalg.inv(level.alpha**2 * covariance + level.sigma**2 * np.eye(3))
    mean = codes.mean(axis=0)
    expected = mean + (x - level.alpha * mean) @ gain.T
    np.testing.assert_allclose(gaussian(codes)(jnp.asarray(x), level), expected, atol=1e-4)


def test_errors_of_the_linear_denoiser_are_the_posterior_variances() -> None:
    codes = np.random.default_rng(1).standard_normal((4000, 2)).astype(np.float32)
    found = errors(lambda x, level, i: gaussian(codes)(x, level), PROCESS, codes)
    snr = np.exp(np.asarray(LOG_SNRS))
    assert found == pytest.approx(1 / (1 + snr), rel=0.1)
