"""Kernel Inception Distance (Binkowski et al. 2018): unbiased MMD^2 with the cubic kernel."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation.metrics.bootstrap import Estimate
from brain_diffusion_jax.evaluation.metrics.frechet import check_features


def cubic_kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(x y / d + 1)^3."""
    return (x @ y.T / x.shape[1] + 1.0) ** 3


def mmd2(x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m d"]) -> float:
    """Unbiased squared maximum mean discrepancy; may fall below 0 for equal distributions."""
    return mmd2_of_kernels(cubic_kernel(x, x), cubic_kernel(y, y), cubic_kernel(x, y))


def mmd2_of_kernels(within_x: np.ndarray, within_y: np.ndarray, between: np.ndarray) -> float:
    """The same from kernel matrices [n, n], [m, m], [n, m]."""
    n, m = between.shape
    return float(
        (within_x.sum() - np.trace(within_x)) / (n * (n - 1))
        + (within_y.sum() - np.trace(within_y)) / (m * (m - 1))
        - 2 * between.mean()
    )


def kid(
    x: Float[np.ndarray, "n d"],
    y: Float[np.ndarray, "m d"],
    *,
    blocks: int = 100,
    block_size: int = 1000,
    seed: int = 0,
) -> Estimate:
    """Mean of block estimates and their central 95 %; blocks are drawn without replacement.

    The value is the plain estimate of all pictures when they fit in one block.
    """
    x, y = check_features(x), check_features(y)
    if x.shape[1] != y.shape[1]:
        raise InputError("features", "dimensions", y.shape[1], x.shape[1])
    smallest = min(len(x), len(y))
    if smallest < 2:
        raise InputError("KID", "pictures", smallest, "at least 2 in each set")
    # Half of the pictures at most, so that the blocks differ and say something about the spread.
    size = max(2, min(block_size, smallest // 2))
    generator = np.random.default_rng(seed)
    draws = [
        mmd2(x[generator.choice(len(x), size, replace=False)], y[generator.choice(len(y), size, replace=False)])
        for _ in range(blocks)
    ]
    value = mmd2(x, y) if smallest <= block_size else float(np.mean(draws))
    low, high = np.quantile(draws, [0.025, 0.975])
    # Drawn without replacement, the variance of a block of m of n pictures is (1/m - 1/n) / (1/n) times the whole's.
    shrink = np.sqrt(size / max(smallest - size, 1))
    centre = float(np.mean(draws))
    return Estimate(value, value + (low - centre) * shrink, value + (high - centre) * shrink, blocks)
