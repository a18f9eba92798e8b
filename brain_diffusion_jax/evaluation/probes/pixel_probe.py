"""Linear probes on block means: what an image shows, read without a network and never tuned on generated images."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Shaped

from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation.image_set import channels_last
from brain_diffusion_jax.pixels import full_scale

BLOCKS = {2: 24, 3: 8}  # along each side, by spatial dimensions: about 550 numbers either way
_COMPONENTS = 128  # that the pixel probes see


def block_means(images: Shaped[np.ndarray, "n ..."]) -> Float[np.ndarray, "n d"]:
    """Means over BLOCKS of each side and channel, uint8 or unit in, unit out."""
    images = channels_last(images)
    sums, volume = images.astype(np.float32), np.ones(())
    for axis in range(1, images.ndim - 1):
        size = images.shape[axis]
        edges = np.linspace(0, size, min(BLOCKS[images.ndim - 2], size) + 1).astype(int)
        sums = np.add.reduceat(sums, edges[:-1], axis=axis)
        volume = volume[..., None] * np.diff(edges)
    means = sums * np.float32(1 / full_scale(images.dtype)) / volume[..., None]
    return means.reshape(len(images), -1)


def ridge_probe(
    inputs: Float[np.ndarray, "n d"], target: Float[np.ndarray, "n k"], folds: int = 5, people: np.ndarray | None = None
) -> Callable[[np.ndarray], np.ndarray]:
    """A linear probe of `target` from `inputs`: principal components, ridge penalty by cross-validation over people.

    It is small, has no seed and was never tuned on generated images: a second opinion.
    """
    x, y = np.asarray(inputs, np.float64), np.asarray(target, np.float64)
    centre = x.mean(0)
    _, sizes, directions = np.linalg.svd(x - centre, full_matrices=False)
    keep = min(_COMPONENTS, len(sizes), int((sizes > 1e-8 * max(sizes[0], 1e-30)).sum()))
    if keep == 0:
        raise InputError("probe", "images", "all equal", "images that differ")
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
    """Images -> numbers, learned from real images by the pixel probe."""
    probe = ridge_probe(block_means(images), np.asarray(target, np.float64)[:, None], people=people)
    return lambda images: probe(block_means(images))[:, 0]


def categorical_probe(
    images: np.ndarray, target: np.ndarray, people: np.ndarray | None
) -> Callable[[np.ndarray], np.ndarray]:
    """Images -> category, learned from real images: the ridge probe on 0/1 columns, largest wins."""
    values = np.unique(target)
    probe = ridge_probe(block_means(images), (np.asarray(target)[:, None] == values).astype(float), people=people)
    return lambda images: values[probe(block_means(images)).argmax(1)]
