"""Denoisers known in closed form, and the exact flow of their probability-flow ODE."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from scipy import stats

from brain_diffusion_jax.array_types import Level, Prediction
from brain_diffusion_jax.diffusion.prediction import expand

MEAN, STD = 0.3, 0.4


def gaussian(x, level, condition=None, mean=MEAN, std=STD):
    """The denoiser of N(mean, std^2) in every pixel; a condition's first value is added where present."""
    alpha, sigma = expand(level.alpha, x), expand(level.sigma, x)
    if condition is not None:
        first = jnp.where(condition.present[:, 0], condition.values[:, 0], 0.0)
        mean = mean + expand(first.astype(x.dtype), x)
    x0 = (alpha * std**2 * x + sigma**2 * mean) / (alpha**2 * std**2 + sigma**2)
    return Prediction(x0, jnp.where(sigma > 0, (x - alpha * x0) / jnp.where(sigma > 0, sigma, 1), 0))


def gaussian_flow(x, start: Level, stop: Level, mean=MEAN, std=STD):
    """Where the ODE of N(mean, std^2) takes x."""
    before, after = (np.sqrt(v.alpha**2 * std**2 + v.sigma**2) for v in (start, stop))
    return stop.alpha * mean + after / before * (x - start.alpha * mean)


# A mixture of two bumps, in every pixel.
WEIGHTS, MEANS, STDS = np.array([0.3, 0.7]), np.array([-0.8, 0.5]), np.array([0.15, 0.3])


def mixture(x, level, condition=None):
    """The denoiser of the mixture in every pixel."""
    alpha, sigma = expand(level.alpha, x), expand(level.sigma, x)
    logs, means = [], []
    for weight, mean, std in zip(WEIGHTS, MEANS, STDS):
        variance = alpha**2 * std**2 + sigma**2
        logs.append(jnp.log(weight) - 0.5 * jnp.log(variance) - 0.5 * (x - alpha * mean) ** 2 / variance)
        means.append((alpha * std**2 * x + sigma**2 * mean) / variance)
    share = jnp.exp(logs[0] - jnp.logaddexp(logs[0], logs[1]))
    x0 = share * means[0] + (1 - share) * means[1]
    return Prediction(x0, jnp.where(sigma > 0, (x - alpha * x0) / jnp.where(sigma > 0, sigma, 1), 0))


def _mixture_cdf(x, level):
    spread = np.sqrt(level.alpha**2 * STDS**2 + level.sigma**2)
    return sum(w * stats.norm.cdf(x, level.alpha * m, s) for w, m, s in zip(WEIGHTS, MEANS, spread))


def mixture_flow(x, start: Level, stop: Level):
    """Where the ODE of the mixture takes x: in one dimension it keeps quantiles."""
    wanted = _mixture_cdf(np.asarray(x, np.float64), start)
    low, high = np.full_like(wanted, -10.0), np.full_like(wanted, 10.0)
    for _ in range(80):
        middle = (low + high) / 2
        below = _mixture_cdf(middle, stop) < wanted
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return (low + high) / 2


def path(num_steps, kind="lambda", low=-2.0, high=2.5):
    """Variance-preserving levels [n + 1], evenly spaced in log(alpha/sigma) or in sigma/alpha."""
    ratio = np.exp(-np.linspace(low, high, num_steps + 1))
    if kind == "ratio":
        ratio = np.linspace(np.exp(-low), np.exp(-high), num_steps + 1)
    alpha = 1 / np.sqrt(1 + ratio**2)
    return Level(np.arange(num_steps + 1.0)[::-1].copy(), alpha, ratio * alpha)


def end(levels, position):
    return Level(*(v[position] for v in levels))
