"""Precision and recall (Kynkaanniemi et al. 2019), density and coverage (Naeem et al. 2020)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from brain_diffusion_jax.errors import InputError


class Manifold(NamedTuple):
    """precision, recall and coverage lie in [0, 1]; density may exceed 1."""

    precision: float
    recall: float
    density: float
    coverage: float


def squared_distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """[n, m] of |x_i - y_j|^2; both are centred first, so that little cancels."""
    centre = x.mean(0)
    x, y = x - centre, y - centre
    lengths_x, lengths_y = np.einsum("ij,ij->i", x, x), np.einsum("ij,ij->i", y, y)
    return np.maximum(lengths_x[:, None] + lengths_y[None] - 2 * x @ y.T, 0.0)


def kth_neighbour(distances: np.ndarray, k: int) -> np.ndarray:
    """[n] distance to the k-th nearest other row, from distances [n, n] within one set."""
    others = distances.copy()
    np.fill_diagonal(others, np.inf)
    return np.partition(others, k - 1, axis=1)[:, k - 1]


def scores_of_distances(
    within_real: np.ndarray, within_generated: np.ndarray, between: np.ndarray, *, k: int = 5
) -> Manifold:
    """Scores with balls to the k-th neighbour, from distances [n, n], [m, m] and between real and generated [n, m]."""
    smallest = min(between.shape)
    if smallest <= k:
        raise InputError("precision and recall", "images", smallest, f"more than k = {k} in each set")
    in_real = between <= kth_neighbour(within_real, k)[:, None]
    in_generated = between <= kth_neighbour(within_generated, k)[None]
    return Manifold(
        precision=float(in_real.any(0).mean()),
        recall=float(in_generated.any(1).mean()),
        density=float(in_real.sum(0).mean() / k),
        coverage=float(in_real.any(1).mean()),
    )
