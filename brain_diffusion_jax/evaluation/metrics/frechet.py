"""The Frechet distance of two Gaussians, in float64 and without a matrix square root.

With features X of N pictures, centred, and R^T R = X^T X (a QR factor, R: [min(N, D), D]), the
covariance is C = R^T R / (N - 1), and tr sqrt(C1 C2) is the sum of the singular values of
R1 R2^T / sqrt((N1 - 1)(N2 - 1)). Nothing is squared and no small eigenvalue is rooted, so the
result is exact for rank-deficient covariances (N < D) too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from brain_diffusion_jax.errors import InputError


@dataclass(frozen=True)
class GaussianFit:
    """Count, mean [d] and root R [r, d] with R^T R = the scatter matrix, all float64."""

    count: int
    mean: np.ndarray
    root: np.ndarray

    @property
    def covariance(self) -> np.ndarray:
        return self.root.T @ self.root / (self.count - 1)


def check_features(features: np.ndarray, where: object = "features") -> np.ndarray:
    """Features as float64 [n, d]; refuses empty sets, other shapes and NaN."""
    array = np.asarray(features, np.float64)
    if array.ndim != 2 or array.shape[0] == 0 or array.shape[1] == 0:
        raise InputError(where, "shape", array.shape, "[pictures, dimensions], at least one of each")
    if not np.isfinite(array).all():
        rows = int((~np.isfinite(array)).any(1).sum())
        raise InputError(where, "values", f"NaN or Inf in {rows} of {len(array)} pictures", "finite features")
    return array


def scatter_root(rows: np.ndarray) -> np.ndarray:
    """R [min(n, d), d] with R^T R = rows^T rows."""
    root: np.ndarray = np.linalg.qr(rows, mode="r")  # type: ignore[assignment]
    return root


def fit(features: Float[np.ndarray, "n d"]) -> GaussianFit:
    array = check_features(features)
    mean = array.mean(0)
    return GaussianFit(len(array), mean, scatter_root(array - mean))


def merge(a: GaussianFit, b: GaussianFit) -> GaussianFit:
    """The fit of both sets together; batches and processes are joined by this."""
    if a.mean.shape != b.mean.shape:
        raise InputError("features", "dimensions", b.mean.shape, a.mean.shape)
    count = a.count + b.count
    step = b.mean - a.mean
    between = np.sqrt(a.count * b.count / count) * step
    root = scatter_root(np.vstack([a.root, b.root, between[None]]))
    return GaussianFit(count, a.mean + step * (b.count / count), root)


def frechet(a: GaussianFit, b: GaussianFit) -> float:
    """|mean_a - mean_b|^2 + tr(C_a + C_b - 2 sqrt(C_a C_b)), covariances with N - 1 as in pytorch-fid."""
    for side in (a, b):
        if side.count < 2:
            raise InputError("Frechet distance", "pictures", side.count, "at least 2 in each set")
    if a.mean.shape != b.mean.shape:
        raise InputError("features", "dimensions", b.mean.shape, a.mean.shape)
    root_a, root_b = a.root / np.sqrt(a.count - 1), b.root / np.sqrt(b.count - 1)
    cross = np.linalg.svd(root_a @ root_b.T, compute_uv=False).sum()
    distance = np.sum((a.mean - b.mean) ** 2) + np.sum(root_a**2) + np.sum(root_b**2) - 2 * cross
    return float(max(distance, 0.0))


def frechet_distance(x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m d"]) -> float:
    return frechet(fit(x), fit(y))
