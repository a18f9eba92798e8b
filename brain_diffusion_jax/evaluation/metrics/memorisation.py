"""Are generated pictures copies of training pictures? Nearest neighbours, against held-out people's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation.audit import SAME_PERSON, SAME_PICTURE, fine_structure
from brain_diffusion_jax.evaluation.metrics.bootstrap import Estimate, intervals
from brain_diffusion_jax.evaluation.metrics.precision_recall import squared_distances

_BLOCK = 512


@dataclass(frozen=True)
class Neighbours:
    """For each query: distance to and index of the nearest reference, and the distance to the next one."""

    distance: np.ndarray
    index: np.ndarray
    second: np.ndarray

    def take(self, rows: np.ndarray) -> Neighbours:
        return Neighbours(self.distance[rows], self.index[rows], self.second[rows])


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

    def take(self, rows: np.ndarray) -> Closeness:
        features = None if self.features is None else self.features.take(rows)
        return Closeness(self.pixels.take(rows), self.likeness[rows], self.most_alike[rows], features)


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


@dataclass(frozen=True)
class Limits:
    """Set by the pictures of held-out people. close: 5 % of them are nearer; copies: see `is_copy`."""

    close: float
    copy_distance: float
    copy_likeness: float


def limits_of(held_out: Closeness) -> Limits:
    """Both limits for copies stand even if one held-out person leaked into training."""
    close = float(np.quantile(held_out.pixels.distance, 0.05))
    middle, tail = np.quantile(held_out.likeness, [0.5, 0.95])
    return Limits(close, 0.5 * close, float(min(max(SAME_PERSON, 2 * tail - middle), SAME_PICTURE)))


def is_copy(near: Closeness, limits: Limits) -> np.ndarray:
    """[n] nearer in pixels than half of `close`, or alike as two scans of one person, beyond the held-out tail."""
    return (near.pixels.distance < limits.copy_distance) | (near.likeness > limits.copy_likeness)


def copies(generated: Closeness, limits: Limits) -> list[list[int]]:
    """[generated row, training row] of each suspected copy."""
    close = generated.pixels.distance < limits.copy_distance
    original = np.where(close, generated.pixels.index, generated.most_alike)
    return [[int(row), int(original[row])] for row in np.flatnonzero(is_copy(generated, limits))]


def scores(generated: Closeness, held_out: Closeness, limits: Limits) -> dict[str, float]:
    """Are generated pictures nearer to the training set than pictures of people it never saw?

    share_closer: of generated pictures nearer than the 5 % quantile of held-out ones (0.05 expected of new
    people); auc: `chance_to_be_nearer`; ratio: distance to the nearest over that to the next training picture
    (median; towards 0 when one picture is copied).
    """
    mine, theirs = generated.pixels, held_out.pixels
    found = {
        "share_closer": float((mine.distance < limits.close).mean()),
        "auc": chance_to_be_nearer(mine.distance, theirs.distance),
        "median_distance": float(np.median(mine.distance)),
        "held_out_median": float(np.median(theirs.distance)),
        "ratio": float(np.median(mine.distance / mine.second)),
        "held_out_ratio": float(np.median(theirs.distance / theirs.second)),
        "greatest_likeness": float(generated.likeness.max()),
        "held_out_likeness": float(held_out.likeness.max()),
    }
    if generated.features is not None and held_out.features is not None:
        found["features_auc"] = chance_to_be_nearer(generated.features.distance, held_out.features.distance)
    return found


def compare_to_held_out(
    generated: Closeness, held_out: Closeness, people: Sequence[str], *, replicates: int = 200, seed: int = 0
) -> dict[str, dict[str, Any]]:
    """`scores` with intervals over people, and the counts of suspected copies, `of` how many pictures.

    Picture i of both sets belongs to people[i], whose condition was asked for. copy_share has Wilson's interval
    of a share. Limits are those of all held-out people in every resample.
    """
    limits = limits_of(held_out)
    names = list(scores(generated, held_out, limits))

    def statistics(rows: np.ndarray) -> list[float]:
        return list(scores(generated.take(rows), held_out.take(rows), limits).values())

    estimates = intervals(statistics, people, replicates=replicates, seed=seed)
    flagged, total = int(is_copy(generated, limits).sum()), len(generated.likeness)
    own = {"copies": flagged, "held_out_copies": int(is_copy(held_out, limits).sum())}
    counts = {name: {**Estimate(n, np.nan, np.nan).to_json(), "of": total} for name, n in own.items()}
    return {
        **counts,
        "copy_share": share(flagged, total).to_json(),
        **{name: estimate.to_json() for name, estimate in zip(names, estimates, strict=True)},
    }


def share(count: int, total: int) -> Estimate:
    """count of total with Wilson's 95 % interval."""
    from scipy.stats import binomtest

    found = binomtest(count, total).proportion_ci(0.95, "wilson")
    return Estimate(count / total, float(found.low), float(found.high))
