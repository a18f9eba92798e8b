"""Kernel distance (Binkowski et al. 2018): unbiased MMD^2 with the cubic kernel."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float


def cubic_kernel(x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m d"]) -> Float[np.ndarray, "n m"]:
    """(x y / d + 1)^3."""
    return (x @ y.T / x.shape[1] + 1.0) ** 3


def mmd2(x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m d"]) -> float:
    """Unbiased squared maximum mean discrepancy; may fall below 0 for equal distributions."""
    return mmd2_of_kernels(cubic_kernel(x, x), cubic_kernel(y, y), cubic_kernel(x, y))


def mmd2_of_kernels(
    within_x: Float[np.ndarray, "n n"], within_y: Float[np.ndarray, "m m"], between: Float[np.ndarray, "n m"]
) -> float:
    """The same from kernel matrices."""
    n, m = between.shape
    return float(
        (within_x.sum() - np.trace(within_x)) / (n * (n - 1))
        + (within_y.sum() - np.trace(within_y)) / (m * (m - 1))
        - 2 * between.mean()
    )
