"""The trustworthiness control: which generated pictures may pass, by limits learned from real ones.

Real pictures stand on three sides: `reference` (what the generator and classifier learned from),
`calibration` (held out, sets the limits) and anything judged later. For each picture, scores that grow
with one kind of fault are compared with one-sided limits:

    far          distance in feature space to the nearest real pictures of the asked class (low quality)
    copy         nearness to a training picture in pixels (memorised)
    class        odds of another class, by the classifier, nearest neighbours and shapes (`shapes.Shapes`),
                 weighted as the calibration pictures' own classes are told best
    texture      distance of `texture.texture` from that of real pictures
    noise, blur  odds of the flaw, by detectors that learned it on real pictures (`flaws.Detectors`)

The limits cut tails of the calibration pictures, in the proportions of TAIL_SHARES, as large as the stated
false-alarm rate allows for the share of calibration pictures beyond ANY limit. Batches are controlled by
Frechet distance (upper limit) and Inception-style score (lower limit) from real-against-real draws.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation.gate.flaws import Detectors
from brain_diffusion_jax.evaluation.metrics import frechet, memorisation
from brain_diffusion_jax.evaluation.metrics.class_measures import check_probabilities, inception_style_score
from brain_diffusion_jax.evaluation.metrics.texture import texture
from brain_diffusion_jax.evaluation.probes.shapes import Shapes, nearness, stack
from brain_diffusion_jax.seeds import check_seed

FeaturesFn = Callable[[np.ndarray], np.ndarray]  # unit pictures [n, r, c, 1] -> [n, d]
ProbabilitiesFn = Callable[[np.ndarray], np.ndarray]  # unit pictures -> [n, classes]
SAYS = {
    "far": "low quality: far from every real picture of its class",
    "copy": "memorised: a training picture",
    "class": "not recognised as the class asked for",
    "texture": "texture unlike real pictures",
    "noise": "noisier than real pictures",
    "blur": "blurred",
}
# Classes overlap in real pictures, copies and noise do not: most of the rate is spent where it buys most.
TAIL_SHARES = {"class": 10}
SOURCES = ("classifier", "neighbours", *Shapes.SOURCES)
_NEIGHBOURS = 3
_CANDIDATES = 8
_MIN_PER_CLASS = 20  # calibration pictures of a class before it gets a scale of its own


class Pictures(NamedTuple):
    """images: unit [n, rows, cols, 1]; labels: index of the (asked) class [n]."""

    images: Float[np.ndarray, "n rows cols 1"]
    labels: Int[np.ndarray, " n"]


@dataclass(frozen=True)
class Seen:
    """Pictures as the gate sees them: n rows each. nearest: `copy_distance` to the reference pictures."""

    labels: np.ndarray
    features: np.ndarray = field(repr=False)
    probabilities: np.ndarray = field(repr=False)
    texture: np.ndarray = field(repr=False)
    shapes: np.ndarray = field(repr=False)
    nearest: np.ndarray = field(repr=False)

    def rows(self, chosen: np.ndarray) -> Seen:
        """Some of the pictures."""
        return Seen(**{f.name: getattr(self, f.name)[chosen] for f in fields(self)})


class Verdicts(NamedTuple):
    """accepted [n]; reasons: faults of each, worst first; scores: fault -> [n]; margin: worst excess over a limit."""

    accepted: np.ndarray
    reasons: list[list[str]]
    scores: dict[str, np.ndarray]
    margin: np.ndarray


class BatchVerdict(NamedTuple):
    """Of one batch against real pictures, at equal N."""

    accepted: bool
    frechet: float
    score: float
    frechet_limit: float
    score_limit: float


def _check(pictures: Pictures, name: str) -> None:
    images, labels = pictures
    if images.ndim != 4 or len(images) != len(labels) or not len(images):
        raise InputError(
            f"gate: {name}", "shape", (images.shape, np.shape(labels)), "[n, rows, cols, 1] and [n], n > 0"
        )
    if not np.isfinite(images).all() or images.min() < 0 or images.max() > 1:
        raise InputError(f"gate: {name}", "values", f"{images.min()} to {images.max()}", "finite, in [0, 1]")


def class_distances(
    features: Float[np.ndarray, "n d"], reference: Float[np.ndarray, "m d"], labels: Int[np.ndarray, " m"], count: int
) -> Float[np.ndarray, "n count"]:
    """Mean distance to the nearest reference pictures of each class; inf for a class without any."""
    out = np.full((len(features), count), np.inf)
    for word in np.unique(labels):
        out[:, word] = memorisation.nearest(features, reference[labels == word], _NEIGHBOURS)[0].mean(1)
    return out


def copy_distance(
    pictures: Float[np.ndarray, "n rows cols"], references: Float[np.ndarray, "m rows cols"]
) -> Float[np.ndarray, " n"]:
    """Root mean square difference to the nearest reference, after small shifts; brightness and contrast aside.

    Candidates are found among blurred pictures, which a shift of a pixel or two hardly changes.
    """
    from scipy import ndimage

    def normal(x: np.ndarray) -> np.ndarray:
        x = x - x.mean((1, 2), keepdims=True)
        return x / np.maximum(x.std((1, 2), keepdims=True), 1e-3)

    mine, theirs = normal(np.asarray(pictures, np.float32)), normal(np.asarray(references, np.float32))
    blurred = [ndimage.gaussian_filter(x, (0, 2, 2))[:, ::2, ::2].reshape(len(x), -1) for x in (mine, theirs)]
    _, found = memorisation.nearest(blurred[0], blurred[1], _CANDIDATES)
    return np.array(
        [memorisation.shifted_distance(x, theirs[rows], reach=2).min() for x, rows in zip(mine, found, strict=True)]
    )


class Gate:
    """Learned from real pictures by `calibrate`; `judge` and `judge_batch` use it."""

    def __init__(
        self,
        features_fn: FeaturesFn,
        probabilities_fn: ProbabilitiesFn,
        reference: Pictures,
        calibration: Pictures,
        *,
        false_alarm_rate: float = 0.05,
        batch_size: int = 100,
        draws: int = 200,
        seed: int = 0,
    ) -> None:
        if not 0 < false_alarm_rate < 0.5:
            raise InputError("gate", "false_alarm_rate", false_alarm_rate, "above 0, below 0.5")
        least = int(np.ceil(2 * len(SAYS) / false_alarm_rate))
        if len(calibration.labels) < least:
            raise InputError(
                "gate",
                "held-out pictures",
                len(calibration.labels),
                f"at least {least} for a rate of {false_alarm_rate:g}",
            )
        check_seed(seed, "gate")
        self.rate = false_alarm_rate
        self._features_fn, self._probabilities_fn = features_fn, probabilities_fn
        _check(reference, "reference")
        images, self._labels = np.asarray(reference.images, np.float32), np.asarray(reference.labels, int)
        self._pixels = images[..., 0]
        self._features = frechet.check_features(features_fn(images))
        centre, spread = self._features.mean(0), self._features.std(0)
        self._scale = (centre, np.where(spread > 1e-6 * max(float(spread.max()), 1e-12), spread, 1.0))
        self._standard_features = self._standard(self._features)
        classes = check_probabilities(probabilities_fn(images[:1])).shape[1]
        self._shapes = Shapes(self._pixels, self._labels, classes, seed)
        self._detectors = Detectors(self._pixels, texture(images), seed)
        self._largest_batch, self._draws, self._seed = batch_size, draws, seed
        self.calibrate(self.see(calibration))

    def calibrate(self, held: Seen) -> None:
        """Set the limits by held-out real pictures."""
        self.class_weights = stack(self._evidence(held)[1], held.labels)
        raw = self._raw_scores(held)
        self._class_scale = self._learn_class_scale(raw["far"], held.labels)
        self.tail, self.limits = joint_limits(self._scaled(raw, held.labels), self.rate)
        self.batch_size = min(self._largest_batch, len(held.labels) // 2, len(self._labels) // 2)
        self.frechet_limit, self.score_limit = self._batch_limits(held)

    def see(self, pictures: Pictures) -> Seen:
        """All that scores are made of."""
        _check(pictures, "pictures")
        images = np.asarray(pictures.images, np.float32)
        return Seen(
            np.asarray(pictures.labels, int),
            frechet.check_features(self._features_fn(images)),
            check_probabilities(self._probabilities_fn(images)),
            texture(images),
            self._shapes(images[..., 0]),
            copy_distance(images[..., 0], self._pixels),
        )

    def _standard(self, features: np.ndarray) -> np.ndarray:
        return (features - self._scale[0]) / self._scale[1]

    def _evidence(self, seen: Seen) -> tuple[np.ndarray, np.ndarray]:
        """(distances [n, classes], evidence for each class [n, classes, sources]: SOURCES, in that order)."""
        count = seen.probabilities.shape[1]
        far = class_distances(self._standard(seen.features), self._standard_features, self._labels, count)
        ours = np.stack([np.log(seen.probabilities), nearness(far)], axis=2)
        return far, np.concatenate([ours, seen.shapes], axis=2)

    def _raw_scores(self, seen: Seen) -> dict[str, np.ndarray]:
        rows, asked = np.arange(len(seen.labels)), seen.labels
        known = np.unique(self._labels)
        if not np.isin(asked, known).all():
            found = sorted(set(np.unique(asked)) - set(known))
            raise InputError("gate", "class", f"no real picture of class {found}", "real pictures of every class asked")
        far, evidence = self._evidence(seen)
        weighted = evidence @ self.class_weights
        others = weighted.copy()
        others[rows, asked] = -np.inf
        return {
            "far": np.log(far[rows, asked] + 1e-9),
            "copy": -np.log(seen.nearest + 1e-4),
            "class": others.max(1) - weighted[rows, asked],
            "texture": self._detectors.oddness(seen.texture),
            **self._detectors(seen.texture),
        }

    def _learn_class_scale(self, far: np.ndarray, labels: np.ndarray) -> dict[int, tuple[float, float]]:
        """Centre and spread of `far` by class: rare classes lie sparser, which is no fault."""
        found = {}
        for word in np.unique(self._labels):
            mine = far[labels == word]
            mine = mine if len(mine) >= _MIN_PER_CLASS else far
            found[int(word)] = (float(np.median(mine)), float(mine.std() + 1e-9))
        return found

    def _scaled(self, raw: dict[str, np.ndarray], labels: np.ndarray) -> dict[str, np.ndarray]:
        scale = np.array([self._class_scale[int(word)] for word in labels])
        return {**raw, "far": (raw["far"] - scale[:, 0]) / scale[:, 1]}

    def scores(self, seen: Seen) -> dict[str, np.ndarray]:
        """Fault -> [n]; larger is worse."""
        return self._scaled(self._raw_scores(seen), seen.labels)

    def judge(self, pictures: Pictures) -> Verdicts:
        """Accept or reject each picture, with reasons."""
        return self.judge_seen(self.see(pictures))

    def judge_seen(self, seen: Seen) -> Verdicts:
        """`judge` of what `see` found."""
        scores = self.scores(seen)
        excess = np.stack([(scores[name] - limit) for name, limit in self.limits.items()], axis=1)
        names = list(self.limits)
        reasons = [[names[j] for j in np.argsort(-row) if row[j] > 0] for row in excess]
        return Verdicts(np.asarray((excess <= 0).all(1)), reasons, scores, excess.max(1))

    def _batch_limits(self, held: Seen) -> tuple[float, float]:
        rng = np.random.default_rng(self._seed)
        distances, found = [], []
        for _ in range(self._draws):
            rows = rng.permutation(len(held.labels))[: self.batch_size]
            others = rng.permutation(len(self._labels))[: self.batch_size]
            distances.append(frechet.frechet_distance(held.features[rows], self._features[others]))
            found.append(inception_style_score(held.probabilities[rows]))
        # Draws from a finite set overlap and so vary less than new batches will (finite population).
        share = self.batch_size / min(len(held.labels), len(self._labels))
        wider = 1 / np.sqrt(1 - share)

        def limit(values: list[float], quantile: float) -> float:
            middle = float(np.median(values))
            return float(middle + wider * (np.quantile(values, quantile) - middle))

        return limit(distances, 1 - self.rate / 2), limit(found, self.rate / 2)  # two limits share the rate

    def judge_batch(self, pictures: Pictures, seed: int = 0) -> BatchVerdict:
        """A batch of at least `batch_size` pictures as a whole, on a random part of that size."""
        if len(pictures.labels) < self.batch_size:
            raise InputError("gate", "batch", f"{len(pictures.labels)} pictures", f"at least {self.batch_size}")
        rng = np.random.default_rng(seed)
        images = np.asarray(pictures.images, np.float32)[rng.permutation(len(pictures.labels))[: self.batch_size]]
        others = rng.permutation(len(self._labels))[: self.batch_size]
        distance = frechet.frechet_distance(frechet.check_features(self._features_fn(images)), self._features[others])
        score = inception_style_score(self._probabilities_fn(images))
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
    """(largest tail, limits): tails of real pictures by TAIL_SHARES, all together at most `rate` of new ones.

    The limits are themselves pictures' scores. A new picture lies beyond the k-th largest of n with probability
    k/(n + 1), so the pictures on the limits count as beyond them: at most floor(rate (n + 1)) in all.
    """
    names = list(scores)
    values = np.stack([scores[name] for name in names])
    shares = np.array([TAIL_SHARES.get(name, 1) for name in names])
    count = values.shape[1]
    allowed = int(np.floor(rate * (count + 1)))
    ordered = np.sort(values, axis=1)

    def limits_at(k: int) -> np.ndarray:
        """k pictures beyond the limit of the largest share."""
        return ordered[np.arange(len(names)), count - 1 - k * shares // shares.max()]

    beyond = 0
    for k in range(1, allowed + 1):  # the union grows with k
        if int((values >= limits_at(k)[:, None]).any(0).sum()) > allowed:
            break
        beyond = k
    return beyond / count, dict(zip(names, limits_at(beyond).tolist(), strict=True))


def describe(reasons: Sequence[str]) -> str:
    """Reasons in words, for a table."""
    return "; ".join(SAYS[name] for name in reasons)
