"""Linear probes on block means: what a picture shows, read without a network and never tuned on generated pictures."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.pixels import full_scale

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
    """A linear probe of `target` from `inputs`: principal components, ridge penalty by cross-validation over people.

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


def numeric_probe(
    images: np.ndarray, target: np.ndarray, people: np.ndarray | None
) -> Callable[[np.ndarray], np.ndarray]:
    """Pictures -> numbers, learned from real pictures by the pixel probe."""
    probe = ridge_probe(block_means(images), np.asarray(target, np.float64)[:, None], people=people)
    return lambda pictures: probe(block_means(pictures))[:, 0]


def categorical_probe(
    images: np.ndarray, target: np.ndarray, people: np.ndarray | None
) -> Callable[[np.ndarray], np.ndarray]:
    """Pictures -> category, learned from real pictures: the ridge probe on 0/1 columns, largest wins."""
    values = np.unique(target)
    probe = ridge_probe(block_means(images), (np.asarray(target)[:, None] == values).astype(float), people=people)
    return lambda pictures: values[probe(block_means(pictures)).argmax(1)]
