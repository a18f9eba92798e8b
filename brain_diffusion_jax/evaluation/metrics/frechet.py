"""The Frechet distance of two Gaussians, in float64 and without a matrix square root.

With features X of N images, centred, and R^T R = X^T X (a QR factor, R: [min(N, D), D]), the
covariance is C = R^T R / (N - 1), and tr sqrt(C1 C2) is the sum of the singular values of
R1 R2^T / sqrt((N1 - 1)(N2 - 1)). Nothing is squared and no small eigenvalue is rooted, so the
result is exact for rank-deficient covariances (N < D) too.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation.metrics.bootstrap import Estimate, intervals_of_two


def check_features(features: np.ndarray, where: object = "features") -> np.ndarray:
    """Features as float64 [n, d]; refuses empty sets, other shapes and NaN."""
    array = np.asarray(features, np.float64)
    if array.ndim != 2 or array.shape[0] == 0 or array.shape[1] == 0:
        raise InputError(where, "shape", array.shape, "[images, dimensions], at least one of each")
    if not np.isfinite(array).all():
        rows = int((~np.isfinite(array)).any(1).sum())
        raise InputError(where, "values", f"NaN or Inf in {rows} of {len(array)} images", "finite features")
    return array


def _mean_and_root(features: Float[np.ndarray, "n d"]) -> tuple[np.ndarray, np.ndarray]:
    """Mean [d], and R [min(n, d), d] with R^T R the covariance (N - 1, as in pytorch-fid)."""
    array = check_features(features)
    if len(array) < 2:
        raise InputError("Frechet distance", "images", len(array), "at least 2 in each set")
    mean = array.mean(0)
    root: np.ndarray = np.linalg.qr(array - mean, mode="r")  # type: ignore[assignment]
    return mean, root / np.sqrt(len(array) - 1)


def frechet_distance(x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m d"]) -> float:
    """|mean_x - mean_y|^2 + tr(C_x + C_y - 2 sqrt(C_x C_y)) of the Gaussians of two sets of features."""
    (mean_x, root_x), (mean_y, root_y) = _mean_and_root(x), _mean_and_root(y)
    if mean_x.shape != mean_y.shape:
        raise InputError("features", "dimensions", mean_y.shape, mean_x.shape)
    cross = np.linalg.svd(root_x @ root_y.T, compute_uv=False).sum()
    distance = np.sum((mean_x - mean_y) ** 2) + np.sum(root_x**2) + np.sum(root_y**2) - 2 * cross
    return float(max(distance, 0.0))


def frechet_interval(
    x: Float[np.ndarray, "n d"],
    y: Float[np.ndarray, "m d"],
    people: Sequence[str],
    other_people: Sequence[str],
    *,
    replicates: int,
    seed: int,
) -> Estimate:
    """The distance with its interval over the people of both sets."""
    return intervals_of_two(
        lambda a, b: [frechet_distance(x[a], y[b])], people, other_people, replicates=replicates, seed=seed
    )[0]
