"""Do the pictures carry the condition that was asked for? Continuous and categorical covariates.

`Agreement` compares what was asked with what a regressor reads off the picture. A regressor's own
error is part of that number: it shrinks its answers towards the mean (regression dilution), which
its relation on real held-out people shows and `undilute` takes out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
from jaxtyping import Float

from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.pixels import full_scale


@dataclass(frozen=True)
class Agreement:
    """Of predictions with requests. bias: mean(predicted - requested); slope: of predicted over requested."""

    mae: float
    mse: float
    rmse: float
    r: float
    slope: float
    intercept: float
    bias: float

    def to_json(self) -> dict[str, float]:
        return asdict(self)


def agreement(requested: Float[np.ndarray, " n"], predicted: Float[np.ndarray, " n"]) -> Agreement:
    """r, slope and intercept are NaN where every request (or prediction) is the same."""
    x, y = np.asarray(requested, np.float64), np.asarray(predicted, np.float64)
    if x.shape != y.shape or x.ndim != 1 or not len(x):
        raise InputError("predictions", "shape", y.shape, f"one number for each of {len(x)} requests, at least one")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise InputError("predictions", "values", "NaN or Inf", "finite numbers")
    error = y - x
    mse = float((error**2).mean())
    spread, other = x.std(), y.std()
    covariance = float(((x - x.mean()) * (y - y.mean())).mean())
    slope = covariance / spread**2 if spread > 0 else float("nan")
    r = covariance / (spread * other) if spread > 0 and other > 0 else float("nan")
    return Agreement(
        mae=float(np.abs(error).mean()),
        mse=mse,
        rmse=mse**0.5,
        r=float(r),
        slope=float(slope),
        intercept=float(y.mean() - slope * x.mean()),
        bias=float(error.mean()),
    )


def undilute(predicted: np.ndarray, real: Agreement) -> np.ndarray:
    """Predictions corrected by the regressor's line on real held-out people: (predicted - intercept) / slope.

    A slope below 0.1 says that the regressor knows nothing; dividing by it would invent a result.
    """
    if not real.slope > 0.1:
        return np.full(len(predicted), np.nan)
    return (np.asarray(predicted, np.float64) - real.intercept) / real.slope


def categorical_accuracy(requested: np.ndarray, predicted: np.ndarray) -> tuple[float, float]:
    """Share of right answers, and the share that naming the commonest value always would get."""
    requested = np.asarray(requested)
    if not len(requested):
        raise InputError("predictions", "set", "an empty set", "at least one picture")
    _, counts = np.unique(requested, return_counts=True)
    return float((requested == np.asarray(predicted)).mean()), float(counts.max() / len(requested))


# Side length of the block means and number of components the pixel probes see.
_BLOCKS, _COMPONENTS = 24, 128


def block_means(images: np.ndarray) -> np.ndarray:
    """Pictures as [n, d] means over blocks of about 1/24 of each side, uint8 or unit in, unit out."""
    pictures = images[..., 0] if images.ndim == 4 else images
    scale = np.float32(1 / full_scale(images.dtype))
    rows = np.linspace(0, pictures.shape[1], min(_BLOCKS, pictures.shape[1]) + 1).astype(int)
    cols = np.linspace(0, pictures.shape[2], min(_BLOCKS, pictures.shape[2]) + 1).astype(int)
    sums = np.add.reduceat(np.add.reduceat(pictures.astype(np.float32), rows[:-1], axis=1), cols[:-1], axis=2)
    means = sums * scale / (np.diff(rows)[:, None] * np.diff(cols))
    return means.reshape(len(pictures), -1)


def ridge_probe(
    inputs: Float[np.ndarray, "n d"], target: Float[np.ndarray, "n k"], folds: int = 5, people: np.ndarray | None = None
) -> Callable[[np.ndarray], np.ndarray]:
    """A linear reader of `target` from `inputs`: principal components, ridge penalty by cross-validation over people.

    It is small, has no seed and was never tuned on generated pictures: a second opinion.
    """
    x, y = np.asarray(inputs, np.float64), np.asarray(target, np.float64)
    centre = x.mean(0)
    _, sizes, directions = np.linalg.svd(x - centre, full_matrices=False)
    keep = min(_COMPONENTS, len(sizes), int((sizes > 1e-8 * max(sizes[0], 1e-30)).sum()))
    if keep == 0:
        raise InputError("probe", "pictures", "all equal", "pictures that differ")
    # One scale for all components: ridge then trusts small ones least, where noise would be blown up.
    basis = directions[:keep].T / np.sqrt((sizes[:keep] ** 2).mean() / len(x))
    scores, mean = (x - centre) @ basis, y.mean(0)

    def solve(rows: np.ndarray, penalty: float) -> tuple[np.ndarray, np.ndarray]:
        local = y[rows].mean(0)
        gram = scores[rows].T @ scores[rows] + penalty * len(rows) * np.eye(keep)
        return np.linalg.solve(gram, scores[rows].T @ (y[rows] - local)), local

    _, group = np.unique(np.arange(len(x)) if people is None else people, return_inverse=True)
    fold_of = np.random.default_rng(0).permutation(group.max() + 1)[group] % folds
    best, best_error = 1.0, np.inf
    for penalty in (1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0, 3.0, 10.0):
        error = 0.0
        for fold in range(min(folds, group.max() + 1)):
            left, held = np.flatnonzero(fold_of != fold), np.flatnonzero(fold_of == fold)
            if len(left) == 0 or len(held) == 0:
                continue
            weights, local = solve(left, penalty)
            error += float(((scores[held] @ weights + local - y[held]) ** 2).sum())
        if error < best_error:
            best, best_error = penalty, error
    weights, mean = solve(np.arange(len(x)), best)
    return lambda other: (np.asarray(other, np.float64) - centre) @ basis @ weights + mean


def continuous_reader(
    images: np.ndarray, target: np.ndarray, people: np.ndarray | None
) -> Callable[[np.ndarray], np.ndarray]:
    """Pictures -> numbers, learned from real pictures by the pixel probe."""
    probe = ridge_probe(block_means(images), np.asarray(target, np.float64)[:, None], people=people)
    return lambda pictures: probe(block_means(pictures))[:, 0]


def categorical_reader(
    images: np.ndarray, target: np.ndarray, people: np.ndarray | None
) -> Callable[[np.ndarray], np.ndarray]:
    """Pictures -> category, learned from real pictures: the ridge probe on 0/1 columns, largest wins."""
    values = np.unique(target)
    probe = ridge_probe(block_means(images), (np.asarray(target)[:, None] == values).astype(float), people=people)
    return lambda pictures: values[probe(block_means(pictures)).argmax(1)]
