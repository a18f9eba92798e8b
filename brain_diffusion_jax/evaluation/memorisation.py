"""Are generated pictures copies of training pictures? Nearest neighbours, against held-out people's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation.audit import SAME_PERSON, SAME_PICTURE, fine_structure
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


@dataclass(frozen=True)
class Closeness:
    """How near each picture comes to the training set. likeness: best correlation of fine structure."""

    pixels: Neighbours
    likeness: np.ndarray
    most_alike: np.ndarray
    features: Neighbours | None = None


class TrainingSearch:
    """Finds nearest training pictures in three ways; training pictures are prepared once.

    training: unit [m, rows, cols]; features: [m, d] of any extractor, or None.
    """

    def __init__(self, training: np.ndarray, features: np.ndarray | None = None) -> None:
        self.training, self.features = training, features
        self.details = np.stack([fine_structure(picture) for picture in training])

    def __call__(self, pictures: np.ndarray, features: np.ndarray | None = None) -> Closeness:
        details = np.stack([fine_structure(picture) for picture in pictures])
        best = np.empty(len(pictures), np.float32)
        most_alike = np.empty(len(pictures), int)
        for start in range(0, len(pictures), _BLOCK):
            block = details[start : start + _BLOCK] @ self.details.T
            most_alike[start : start + _BLOCK] = block.argmax(1)
            best[start : start + _BLOCK] = block.max(1)
        near = None
        if features is not None and self.features is not None:
            near = nearest_features(features, self.features)
        return Closeness(nearest_pictures(pictures, self.training), best, most_alike, near)


def chance_to_be_nearer(generated: np.ndarray, held_out: np.ndarray) -> float:
    """That a generated picture's distance is below a held-out one's; 0.5 expected of new people."""
    from scipy.stats import rankdata

    n, m = len(generated), len(held_out)
    ranks = rankdata(-np.concatenate([generated, held_out]))[:n].sum()
    return float((ranks - n * (n + 1) / 2) / (n * m))


def compare_to_held_out(generated: Closeness, held_out: Closeness) -> dict[str, Any]:
    """Are generated pictures nearer to the training set than pictures of people it never saw?

    share_closer: of generated pictures nearer than the 5 % quantile of held-out ones (0.05 expected
    of new people); auc: `chance_to_be_nearer`. A copy is nearer in pixels than half that quantile, or
    shares fine structure as two scans of one person do, and beyond the held-out pictures' tail. Both
    limits stand even if one held-out person leaked into training; held_out_copies counts those.
    pairs: [generated row, training row] of the copies.
    """
    mine, theirs = generated.pixels.distance, held_out.pixels.distance
    nearest_limit = 0.5 * np.quantile(theirs, 0.05)
    middle, tail = np.quantile(held_out.likeness, [0.5, 0.95])
    alike_limit = min(max(SAME_PERSON, 2 * tail - middle), SAME_PICTURE)

    def flagged(near: Closeness) -> np.ndarray:
        return (near.pixels.distance < nearest_limit) | (near.likeness > alike_limit)

    copies = np.flatnonzero(flagged(generated))
    close = mine < nearest_limit
    original = np.where(close, generated.pixels.index, generated.most_alike)
    numbers = {
        "share_closer": float((mine < np.quantile(theirs, 0.05)).mean()),
        "auc": chance_to_be_nearer(mine, theirs),
        "median_distance": float(np.median(mine)),
        "held_out_median": float(np.median(theirs)),
        "greatest_likeness": float(generated.likeness.max()),
        "held_out_likeness": float(held_out.likeness.max()),
        "held_out_copies": float(flagged(held_out).sum()),
    }
    if generated.features is not None and held_out.features is not None:
        numbers["features_auc"] = chance_to_be_nearer(generated.features.distance, held_out.features.distance)
    return {
        **numbers,
        "copies": [int(row) for row in copies],
        "pairs": [[int(row), int(original[row])] for row in copies],
    }
