"""Are generated pictures copies of training pictures? Nearest neighbours, against held-out people's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation.precision_recall import squared_distances

_BLOCK = 512


@dataclass(frozen=True)
class Neighbours:
    """For each query: distance to and index of the nearest reference, and the distance to the next one."""

    distance: np.ndarray
    index: np.ndarray
    second: np.ndarray


def nearest(queries: Float[np.ndarray, "n d"], references: Float[np.ndarray, "m d"], count: int = 2) -> tuple:
    """(distances, indices) [n, count] of the nearest references, nearest first; root mean square per dimension."""
    if len(queries) == 0 or len(references) == 0:
        raise InputError("nearest neighbours", "pictures", "an empty set", "at least one picture on each side")
    count = min(count, len(references))
    distances = np.empty((len(queries), count))
    indices = np.empty((len(queries), count), int)
    for start in range(0, len(queries), _BLOCK):
        block = squared_distances(queries[start : start + _BLOCK], references)
        order = np.argpartition(block, count - 1, axis=1)[:, :count]
        values = np.take_along_axis(block, order, 1)
        sorting = values.argsort(1)
        indices[start : start + _BLOCK] = np.take_along_axis(order, sorting, 1)
        distances[start : start + _BLOCK] = np.take_along_axis(values, sorting, 1)
    return np.sqrt(distances / queries.shape[1]), indices


def shifted_distance(picture: np.ndarray, others: np.ndarray, reach: int = 2) -> np.ndarray:
    """[k] root mean square difference to each of `others` [k, r, c], the best over shifts of up to `reach` pixels."""
    rows, cols = picture.shape
    best = np.full(len(others), np.inf)
    inner = picture[reach : rows - reach, reach : cols - reach]
    for down in range(2 * reach + 1):
        for right in range(2 * reach + 1):
            window = others[:, down : rows - 2 * reach + down, right : cols - 2 * reach + right]
            best = np.minimum(best, ((window - inner) ** 2).mean((1, 2)))
    return np.sqrt(best)


def nearest_pictures(queries: np.ndarray, references: np.ndarray, *, candidates: int = 5, reach: int = 2) -> Neighbours:
    """Nearest references in pixels: candidates by plain distance, then the best after small shifts.

    queries, references: unit [n, rows, cols]. Distances are root mean square over pixels.
    """
    flat_q, flat_r = queries.reshape(len(queries), -1), references.reshape(len(references), -1)
    _, found = nearest(flat_q, flat_r, candidates)
    distance, index, second = np.empty(len(queries)), np.empty(len(queries), int), np.empty(len(queries))
    for row, options in enumerate(found):
        scores = shifted_distance(queries[row], references[options], reach)
        order = scores.argsort()
        distance[row], index[row] = scores[order[0]], options[order[0]]
        second[row] = scores[order[1]] if len(order) > 1 else np.inf
    return Neighbours(distance, index, second)


def nearest_features(queries: np.ndarray, references: np.ndarray) -> Neighbours:
    """The same in feature space."""
    distance, index = nearest(queries.astype(np.float64), references.astype(np.float64), 2)
    return Neighbours(distance[:, 0], index[:, 0], distance[:, -1])


def compare_to_held_out(generated: Neighbours, held_out: Neighbours) -> dict[str, Any]:
    """Are generated pictures nearer to the training set than pictures of people it never saw?

    share_closer: of generated pictures nearer than the 5 % quantile of held-out ones (0.05 expected
    of new people). auc: chance that a generated picture is nearer than a held-out one (0.5 expected).
    copies: rows nearer than half the smallest held-out distance: no unseen person comes that close.
    """
    limit = float(np.quantile(held_out.distance, 0.05))
    closest = float(held_out.distance.min())
    both = np.concatenate([generated.distance, held_out.distance])
    from scipy.stats import rankdata

    ranks = rankdata(-both)[: len(generated.distance)].sum()
    n, m = len(generated.distance), len(held_out.distance)
    copies = np.flatnonzero(generated.distance < 0.5 * closest)
    return {
        "share_closer": float((generated.distance < limit).mean()),
        "auc": float((ranks - n * (n + 1) / 2) / (n * m)),
        "median_distance": float(np.median(generated.distance)),
        "held_out_median": float(np.median(held_out.distance)),
        "held_out_closest": closest,
        "copies": [int(row) for row in copies],
    }
