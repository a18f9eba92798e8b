"""The trustworthiness control: which generated images may pass, by limits learned from real ones.

Real images stand on three sides: `reference` (what the generator and classifier learned from),
`calibration` (held out, sets the limits) and anything examined later. For each image, scores that grow
with one kind of fault are compared with one-sided limits:

    far          distance in feature space to the nearest real images of the requested class (low quality)
    copy         nearness to a training image in pixels (memorised)
    class        odds of another class, by the classifier, nearest neighbours and shapes (`shapes.Shapes`),
                 weighted as the calibration images' own classes are predicted best
    texture      distance of `texture.texture` from that of real images
    noise, blur  odds of the flaw, by detectors that learned it on real images (`flaws.Detectors`)

The limits cut tails of the calibration images, in the proportions of TAIL_WEIGHTS, as large as the stated
false-alarm rate allows for the fraction of calibration images beyond ANY limit. Batches are controlled by
Frechet distance (upper limit) and Inception-style score (lower limit) from real-against-real draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation.gate.flaws import Detectors
from brain_diffusion_jax.evaluation.labelled import Classifier, Labelled, answers
from brain_diffusion_jax.evaluation.metrics import memorisation
from brain_diffusion_jax.evaluation.metrics.class_measures import inception_style_score
from brain_diffusion_jax.evaluation.metrics.frechet import check_features, frechet_distance
from brain_diffusion_jax.evaluation.metrics.texture import texture
from brain_diffusion_jax.evaluation.probes.shapes import Shapes, nearness, stack
from brain_diffusion_jax.seeds import check_seed

FAULTS = {
    "far": "low quality: far from every real image of its class",
    "copy": "memorised: a training image",
    "class": "not recognised as the requested class",
    "texture": "texture unlike real images",
    "noise": "noisier than real images",
    "blur": "blurred",
}
# Classes overlap in real images, copies and noise do not: most of the rate is spent where it buys most.
TAIL_WEIGHTS = {"class": 10}
SOURCES = ("classifier", "neighbours", *Shapes.SOURCES)
_NEIGHBOURS = 3
_CANDIDATES = 8
_MIN_PER_CLASS = 20  # calibration images of a class before it gets a scale of its own


@dataclass(frozen=True)
class Seen:
    """All that scores are made of: n rows each. nearest: `copy_distance` to the reference images."""

    labels: np.ndarray
    features: np.ndarray = field(repr=False)
    probabilities: np.ndarray = field(repr=False)
    texture: np.ndarray = field(repr=False)
    shapes: np.ndarray = field(repr=False)
    nearest: np.ndarray = field(repr=False)

    def rows(self, chosen: np.ndarray) -> Seen:
        """Some of the images."""
        return Seen(**{f.name: getattr(self, f.name)[chosen] for f in fields(self)})


class Verdicts(NamedTuple):
    """accepted [n]; reasons: faults of each, worst first; scores: fault -> [n]; margin: worst excess over a limit."""

    accepted: Bool[np.ndarray, " n"]
    reasons: list[list[str]]
    scores: dict[str, np.ndarray]
    margin: Float[np.ndarray, " n"]


class BatchVerdict(NamedTuple):
    """Of one batch against real images, at equal N."""

    accepted: bool
    frechet: float
    score: float
    frechet_limit: float
    score_limit: float


def _check(given: Labelled, name: str) -> Labelled:
    images, labels = np.asarray(given.images, np.float32), np.asarray(given.labels, int)
    if images.ndim != 4 or len(images) != len(labels) or not len(images):
        expected = "[n, rows, cols, channels] and [n], n > 0"
        raise InputError(f"gate: {name}", "shape", (images.shape, labels.shape), expected)
    if not np.isfinite(images).all() or images.min() < 0 or images.max() > 1:
        raise InputError(f"gate: {name}", "values", f"{images.min()} to {images.max()}", "finite, in [0, 1]")
    return Labelled(images, labels)


def class_distances(
    features: Float[np.ndarray, "n d"], reference: Float[np.ndarray, "m d"], labels: Int[np.ndarray, " m"], count: int
) -> Float[np.ndarray, "n count"]:
    """Mean distance to the nearest reference images of each class; inf for a class without any."""
    out = np.full((len(features), count), np.inf)
    for number in np.unique(labels):
        out[:, number] = memorisation.nearest(features, reference[labels == number], _NEIGHBOURS)[0].mean(1)
    return out


def copy_distance(
    images: Float[np.ndarray, "n rows cols c"], references: Float[np.ndarray, "m rows cols c"]
) -> Float[np.ndarray, " n"]:
    """Root mean square difference to the nearest reference, after small shifts; brightness and contrast aside.

    Candidates are searched among blurred images, which a shift of a pixel or two hardly changes.
    """
    from scipy import ndimage

    def normal(x: np.ndarray) -> np.ndarray:
        x = x - x.mean((1, 2, 3), keepdims=True)
        return x / np.maximum(x.std((1, 2, 3), keepdims=True), 1e-3)

    mine, theirs = normal(np.asarray(images, np.float32)), normal(np.asarray(references, np.float32))
    blurred = [ndimage.gaussian_filter(x, (0, 2, 2, 0))[:, ::2, ::2].reshape(len(x), -1) for x in (mine, theirs)]
    _, nearby = memorisation.nearest(blurred[0], blurred[1], _CANDIDATES)
    pairs = zip(mine, nearby, strict=True)
    return np.array([memorisation.shifted_distance(x, theirs[rows], reach=2).min() for x, rows in pairs])


class Gate:
    """Learned from real images by `calibrate`; `verdicts` and `batch_verdict` use it."""

    def __init__(
        self,
        classifier: Classifier,
        reference: Labelled,
        calibration: Labelled,
        *,
        false_alarm_rate: float = 0.05,
        batch_size: int = 100,
        draws: int = 200,
        seed: int = 0,
    ) -> None:
        if not 0 < false_alarm_rate < 0.5:
            raise InputError("gate", "false_alarm_rate", false_alarm_rate, "above 0, below 0.5")
        least = int(np.ceil(2 * len(FAULTS) / false_alarm_rate))
        if len(calibration.labels) < least:
            expected = f"at least {least} for a rate of {false_alarm_rate:g}"
            raise InputError("gate", "held-out images", len(calibration.labels), expected)
        check_seed(seed, "gate")
        self.rate, self._classifier = false_alarm_rate, classifier
        self._images, self._labels = _check(reference, "reference")
        self._features = check_features(classifier.features(self._images))
        centre, spread = self._features.mean(0), self._features.std(0)
        self._scale = (centre, np.where(spread > 1e-6 * max(float(spread.max()), 1e-12), spread, 1.0))
        self._standard_features = self._standard(self._features)
        self._shapes = Shapes(self._images, self._labels, len(classifier.words), seed)
        self._detectors = Detectors(self._images, texture(self._images), seed)
        self._largest_batch, self._draws, self._seed = batch_size, draws, seed
        self.calibrate(self.see(calibration))

    def calibrate(self, held: Seen) -> None:
        """Set the limits by held-out real images."""
        self.class_weights = stack(self._evidence(held)[1], held.labels)
        raw = self._raw_scores(held)
        self._class_scale = self._learn_class_scale(raw["far"], held.labels)
        self.tail, self.limits = joint_limits(self._scaled(raw, held.labels), self.rate)
        self.batch_size = min(self._largest_batch, len(held.labels) // 2, len(self._labels) // 2)
        self.frechet_limit, self.score_limit = self._batch_limits(held)

    def see(self, given: Labelled) -> Seen:
        """All that scores are made of."""
        images, labels = _check(given, "images")
        features, probabilities = answers(self._classifier, images)
        nearest = copy_distance(images, self._images)
        return Seen(labels, features, probabilities, texture(images), self._shapes(images), nearest)

    def _standard(self, features: np.ndarray) -> np.ndarray:
        return (features - self._scale[0]) / self._scale[1]

    def _evidence(self, seen: Seen) -> tuple[np.ndarray, np.ndarray]:
        """(distances [n, classes], evidence for each class [n, classes, sources]: SOURCES, in that order)."""
        count = seen.probabilities.shape[1]
        far = class_distances(self._standard(seen.features), self._standard_features, self._labels, count)
        ours = np.stack([np.log(seen.probabilities), nearness(far)], axis=2)
        return far, np.concatenate([ours, seen.shapes], axis=2)

    def _raw_scores(self, seen: Seen) -> dict[str, np.ndarray]:
        rows, requested = np.arange(len(seen.labels)), seen.labels
        known = np.unique(self._labels)
        if not np.isin(requested, known).all():
            missing = sorted(set(np.unique(requested)) - set(known))
            raise InputError(
                "gate", "class", f"no real image of class {missing}", "real images of every requested class"
            )
        far, evidence = self._evidence(seen)
        weighted = evidence @ self.class_weights
        others = weighted.copy()
        others[rows, requested] = -np.inf
        return {
            "far": np.log(far[rows, requested] + 1e-9),
            "copy": -np.log(seen.nearest + 1e-4),
            "class": others.max(1) - weighted[rows, requested],
            "texture": self._detectors.oddness(seen.texture),
            **self._detectors(seen.texture),
        }

    def _learn_class_scale(self, far: np.ndarray, labels: np.ndarray) -> dict[int, tuple[float, float]]:
        """Centre and spread of `far` by class: rare classes lie sparser, which is no fault."""
        scales = {}
        for number in np.unique(self._labels):
            mine = far[labels == number]
            mine = mine if len(mine) >= _MIN_PER_CLASS else far
            scales[int(number)] = (float(np.median(mine)), float(mine.std() + 1e-9))
        return scales

    def _scaled(self, raw: dict[str, np.ndarray], labels: np.ndarray) -> dict[str, np.ndarray]:
        scale = np.array([self._class_scale[int(number)] for number in labels])
        return {**raw, "far": (raw["far"] - scale[:, 0]) / scale[:, 1]}

    def verdicts(self, given: Labelled) -> Verdicts:
        """Accept or reject each image, with reasons."""
        return self.verdicts_of(self.see(given))

    def verdicts_of(self, seen: Seen) -> Verdicts:
        """`verdicts` from the output of `see`."""
        scores = self._scaled(self._raw_scores(seen), seen.labels)
        excess = np.stack([(scores[name] - limit) for name, limit in self.limits.items()], axis=1)
        names = list(self.limits)
        reasons = [[names[j] for j in np.argsort(-row) if row[j] > 0] for row in excess]
        return Verdicts(np.asarray((excess <= 0).all(1)), reasons, scores, excess.max(1))

    def _batch_limits(self, held: Seen) -> tuple[float, float]:
        rng = np.random.default_rng(self._seed)
        distances, scores = [], []
        for _ in range(self._draws):
            rows = rng.permutation(len(held.labels))[: self.batch_size]
            others = rng.permutation(len(self._labels))[: self.batch_size]
            distances.append(frechet_distance(held.features[rows], self._features[others]))
            scores.append(inception_style_score(held.probabilities[rows]))
        # Draws from a finite set overlap and so vary less than new batches will (finite population).
        fraction = self.batch_size / min(len(held.labels), len(self._labels))
        wider = 1 / np.sqrt(1 - fraction)

        def limit(values: list[float], quantile: float) -> float:
            middle = float(np.median(values))
            return float(middle + wider * (np.quantile(values, quantile) - middle))

        return limit(distances, 1 - self.rate / 2), limit(scores, self.rate / 2)  # two limits share the rate

    def batch_verdict(self, given: Labelled, seed: int = 0) -> BatchVerdict:
        """A batch of at least `batch_size` images as a whole, on a random part of that size."""
        if len(given.labels) < self.batch_size:
            raise InputError("gate", "batch", f"{len(given.labels)} images", f"at least {self.batch_size}")
        rng = np.random.default_rng(seed)
        images = np.asarray(given.images, np.float32)[rng.permutation(len(given.labels))[: self.batch_size]]
        others = rng.permutation(len(self._labels))[: self.batch_size]
        features, probabilities = answers(self._classifier, images)
        distance, score = frechet_distance(features, self._features[others]), inception_style_score(probabilities)
        good = bool(distance <= self.frechet_limit and score >= self.score_limit)
        return BatchVerdict(good, distance, score, self.frechet_limit, self.score_limit)

    def to_json(self) -> dict[str, Any]:
        """The limits and what they rest on."""
        return {
            "false_alarm_rate": self.rate,
            "tail": self.tail,
            "limits": self.limits,
            "class_weights": dict(zip(SOURCES, self.class_weights.tolist(), strict=True)),
            "reference_pictures": len(self._labels),
            "batch_size": self.batch_size,
            "frechet_limit": self.frechet_limit,
            "score_limit": self.score_limit,
        }


def joint_limits(scores: dict[str, np.ndarray], rate: float) -> tuple[float, dict[str, float]]:
    """(largest tail, limits): tails of real images by TAIL_WEIGHTS, all together at most `rate` of new ones.

    The limits are themselves images' scores. A new image lies beyond the k-th largest of n with probability
    k/(n + 1), so the images on the limits count as beyond them: at most floor(rate (n + 1)) in all.
    """
    names = list(scores)
    values = np.stack([scores[name] for name in names])
    weights = np.array([TAIL_WEIGHTS.get(name, 1) for name in names])
    count = values.shape[1]
    allowed = int(np.floor(rate * (count + 1)))
    ordered = np.sort(values, axis=1)

    def limits_at(k: int) -> np.ndarray:
        """k images beyond the limit of the largest weight."""
        return ordered[np.arange(len(names)), count - 1 - k * weights // weights.max()]

    beyond = 0
    for k in range(1, allowed + 1):  # the union grows with k
        if int((values >= limits_at(k)[:, None]).any(0).sum()) > allowed:
            break
        beyond = k
    return beyond / count, dict(zip(names, limits_at(beyond).tolist(), strict=True))


def describe(reasons: Sequence[str]) -> str:
    """Reasons in words, for a table."""
    return "; ".join(FAULTS[name] for name in reasons)
