"""Are generated images copies of training images? Nearest neighbours, against held-out people's."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation.audit import SAME_PERSON, SAME_PICTURE, fine_structure
from brain_diffusion_jax.evaluation.metrics.bootstrap import Estimate, intervals, proportion
from brain_diffusion_jax.evaluation.metrics.precision_recall import squared_distances

_BLOCK = 512


class Neighbours(NamedTuple):
    """For each query: distance to and row of the nearest reference, and the distance to the next one."""

    distance: Float[np.ndarray, " n"]
    row: Int[np.ndarray, " n"]
    second: Float[np.ndarray, " n"]


def nearest(
    queries: Float[np.ndarray, "n d"], references: Float[np.ndarray, "m d"], count: int = 2
) -> tuple[Float[np.ndarray, "n count"], Int[np.ndarray, "n count"]]:
    """(distances, indices) of the nearest references, nearest first; root mean square per dimension."""
    if len(queries) == 0 or len(references) == 0:
        raise InputError("nearest neighbours", "images", "an empty set", "at least one image on each side")
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


def shifted_distance(
    image: Float[np.ndarray, "*spatial c"], others: Float[np.ndarray, "k *spatial c"], reach: int = 2
) -> Float[np.ndarray, " k"]:
    """Root mean square difference to each of `others`, the best over shifts of up to `reach` pixels."""
    *spatial, _ = image.shape
    best = np.full(len(others), np.inf)
    inner = image[tuple(slice(reach, size - reach) for size in spatial)]
    for shift in itertools.product(range(2 * reach + 1), repeat=len(spatial)):
        windows = (slice(start, size - 2 * reach + start) for start, size in zip(shift, spatial, strict=True))
        difference = others[(slice(None), *windows)] - inner
        best = np.minimum(best, (difference**2).mean(tuple(range(1, others.ndim))))
    return np.sqrt(best)


def nearest_images(
    queries: Float[np.ndarray, "n *spatial c"],
    references: Float[np.ndarray, "m *spatial c"],
    *,
    candidates: int = 5,
    reach: int = 2,
) -> Neighbours:
    """Nearest references in pixels: candidates by plain distance, then the best after small shifts.

    queries, references: unit images. Distances are root mean square over pixels.
    """
    _, nearby = nearest(queries.reshape(len(queries), -1), references.reshape(len(references), -1), candidates)
    distance, index, second = np.empty(len(queries)), np.empty(len(queries), int), np.empty(len(queries))
    for row, options in enumerate(nearby):
        scores = shifted_distance(queries[row], references[options], reach)
        order = scores.argsort()
        distance[row], index[row] = scores[order[0]], options[order[0]]
        second[row] = scores[order[1]] if len(order) > 1 else np.inf
    return Neighbours(distance, index, second)


def nearest_features(queries: Float[np.ndarray, "n d"], references: Float[np.ndarray, "m d"]) -> Neighbours:
    """The same in feature space."""
    distance, index = nearest(queries.astype(np.float64), references.astype(np.float64), 2)
    return Neighbours(distance[:, 0], index[:, 0], distance[:, -1])


@dataclass(frozen=True)
class Closeness:
    """How near each image comes to the training set. correlation: the greatest of fine structure."""

    pixels: Neighbours
    correlation: np.ndarray
    most_alike: np.ndarray
    features: Neighbours | None = None

    def take(self, rows: Int[np.ndarray, " k"]) -> Closeness:
        """Some of the images."""

        def taken(near: Neighbours) -> Neighbours:
            return Neighbours(*(array[rows] for array in near))

        features = None if self.features is None else taken(self.features)
        return Closeness(taken(self.pixels), self.correlation[rows], self.most_alike[rows], features)


class TrainingSearch:
    """Finds nearest training images in three ways; training images are prepared once.

    training: unit images; features: [m, d] of any extractor, or None.
    """

    def __init__(
        self, training: Float[np.ndarray, "m *spatial c"], features: Float[np.ndarray, "m d"] | None = None
    ) -> None:
        self.training, self.features = training, features
        self.details = np.stack([fine_structure(image) for image in training])

    def __call__(
        self, images: Float[np.ndarray, "n *spatial c"], features: Float[np.ndarray, "n d"] | None = None
    ) -> Closeness:
        details = np.stack([fine_structure(image) for image in images])
        blocks = (details[start : start + _BLOCK] @ self.details.T for start in range(0, len(images), _BLOCK))
        best = [(block.max(1), block.argmax(1)) for block in blocks]
        correlation, most_alike = (np.concatenate(column) for column in zip(*best, strict=True))
        near = None
        if features is not None and self.features is not None:
            near = nearest_features(features, self.features)
        return Closeness(nearest_images(images, self.training), correlation, most_alike, near)


def chance_to_be_nearer(generated: Float[np.ndarray, " n"], held_out: Float[np.ndarray, " m"]) -> float:
    """That a generated image's distance is below a held-out one's; 0.5 expected of new people."""
    from scipy.stats import rankdata

    n, m = len(generated), len(held_out)
    ranks = rankdata(-np.concatenate([generated, held_out]))[:n].sum()
    return float((ranks - n * (n + 1) / 2) / (n * m))


@dataclass(frozen=True)
class Limits:
    """Set by the images of held-out people. close: 5 % of them are nearer; copies: see `is_copy`."""

    close: float
    copy_distance: float
    copy_correlation: float


def limits_of(held_out: Closeness) -> Limits:
    """Both limits for copies stand even if one held-out person leaked into training."""
    close = float(np.quantile(held_out.pixels.distance, 0.05))
    middle, tail = np.quantile(held_out.correlation, [0.5, 0.95])
    return Limits(close, 0.5 * close, float(min(max(SAME_PERSON, 2 * tail - middle), SAME_PICTURE)))


def is_copy(near: Closeness, limits: Limits) -> Bool[np.ndarray, " n"]:
    """Nearer in pixels than half of `close`, or alike as two scans of one person, beyond the held-out tail."""
    return (near.pixels.distance < limits.copy_distance) | (near.correlation > limits.copy_correlation)


def copies(generated: Closeness, limits: Limits) -> list[list[int]]:
    """[generated row, training row] of each suspected copy."""
    close = generated.pixels.distance < limits.copy_distance
    original = np.where(close, generated.pixels.row, generated.most_alike)
    return [[int(row), int(original[row])] for row in np.flatnonzero(is_copy(generated, limits))]


def scores(generated: Closeness, held_out: Closeness, limits: Limits) -> dict[str, float]:
    """Are generated images nearer to the training set than held-out people, whom the model never saw?

    share_closer: of generated images nearer than the 5 % quantile of held-out ones (0.05 expected of new
    people); auc: `chance_to_be_nearer`; ratio: distance to the nearest over that to the next training image
    (median; towards 0 when one image is copied). The names are keys of study.json.
    """
    mine, theirs = generated.pixels, held_out.pixels
    numbers = {
        "share_closer": float((mine.distance < limits.close).mean()),
        "auc": chance_to_be_nearer(mine.distance, theirs.distance),
        "median_distance": float(np.median(mine.distance)),
        "held_out_median": float(np.median(theirs.distance)),
        "ratio": float(np.median(mine.distance / mine.second)),
        "held_out_ratio": float(np.median(theirs.distance / theirs.second)),
        "greatest_likeness": float(generated.correlation.max()),
        "held_out_likeness": float(held_out.correlation.max()),
    }
    if generated.features is not None and held_out.features is not None:
        numbers["features_auc"] = chance_to_be_nearer(generated.features.distance, held_out.features.distance)
    return numbers


def compare_to_held_out(
    generated: Closeness, held_out: Closeness, people: Sequence[str], *, replicates: int = 200, seed: int = 0
) -> dict[str, dict[str, Any]]:
    """`scores` with intervals over people, and the counts of suspected copies, `of` how many images.

    Image i of both sets belongs to people[i], whose condition was requested. copy_share has Wilson's interval
    of a fraction. Limits are those of all held-out people in every resample.
    """
    limits = limits_of(held_out)
    names = list(scores(generated, held_out, limits))

    def statistics(rows: np.ndarray) -> list[float]:
        return list(scores(generated.take(rows), held_out.take(rows), limits).values())

    estimates = intervals(statistics, people, replicates=replicates, seed=seed)
    flagged, total = int(is_copy(generated, limits).sum()), len(generated.correlation)
    counts = {"copies": flagged, "held_out_copies": int(is_copy(held_out, limits).sum())}
    return {
        **{name: {**Estimate(count).to_json(), "of": total} for name, count in counts.items()},
        "copy_share": proportion(flagged, total).to_json(),
        **{name: estimate.to_json() for name, estimate in zip(names, estimates, strict=True)},
    }
