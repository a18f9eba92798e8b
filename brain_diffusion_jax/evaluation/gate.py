"""The trustworthiness control: which generated pictures may pass, by limits learned from real ones.

Real pictures stand on three sides: `reference` (what the generator and classifier learned from),
`calibration` (held out, sets the limits) and anything judged later. For each picture, scores that grow
with one kind of fault are compared with one-sided limits:

    far        distance in feature space to the nearest real pictures of the asked class (low quality)
    copy       nearness to a training picture in pixels (memorised)
    class      odds of another class, by a classifier trained on real pictures and by nearest neighbours
    texture    distance of band energies from those of real pictures;  noise, blur: one side each

The limits cut tails of the calibration pictures, in the proportions of TAIL_SHARES, as large as the stated
false-alarm rate allows for the share of calibration pictures beyond ANY limit. Batches are controlled by
Frechet distance (upper limit) and Inception-style score (lower limit) from real-against-real draws.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation import frechet, memorisation
from brain_diffusion_jax.evaluation.class_measures import check_probabilities, inception_style_score
from brain_diffusion_jax.evaluation.texture import texture

FeaturesFn = Callable[[np.ndarray], np.ndarray]  # unit pictures [n, r, c, 1] -> [n, d]
ProbabilitiesFn = Callable[[np.ndarray], np.ndarray]  # unit pictures -> [n, classes]
SAYS = {
    "far": "low quality: far from every real picture of its class",
    "copy": "memorised: a training picture",
    "class": "not recognised as the class asked for",
    "texture": "texture unlike real pictures",
    "noise": "noise where real pictures are quiet",
    "blur": "blurred",
}
# Classes overlap in real pictures, copies and noise do not: most of the rate is spent where it buys most.
TAIL_SHARES = {"class": 4}
_NEIGHBOURS = 3
_CANDIDATES = 8
_NEIGHBOUR_WEIGHT = 8.0  # a class twice as near counts as odds of 250 to 1
_MIN_PER_CLASS = 20  # calibration pictures of a class before it gets a scale of its own


class Pictures(NamedTuple):
    """images: unit [n, rows, cols, 1]; labels: index of the (asked) class [n]."""

    images: Float[np.ndarray, "n rows cols 1"]
    labels: Int[np.ndarray, " n"]


@dataclass(frozen=True)
class Seen:
    """Pictures as the gate sees them."""

    labels: np.ndarray
    pixels: np.ndarray = field(repr=False)
    features: np.ndarray = field(repr=False)
    probabilities: np.ndarray = field(repr=False)
    texture: np.ndarray = field(repr=False)


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
        self.rate = false_alarm_rate
        self._features_fn, self._probabilities_fn = features_fn, probabilities_fn
        _check(reference, "reference")
        self.reference = self.see(reference)
        centre, spread = self.reference.features.mean(0), self.reference.features.std(0)
        self._scale = (centre, np.where(spread > 1e-6 * max(float(spread.max()), 1e-12), spread, 1.0))
        self._standard_reference = self._standard(self.reference.features)
        self._texture_mean = self.reference.texture.mean(0)
        cov = np.cov(self.reference.texture, rowvar=False) + 1e-4 * np.eye(self.reference.texture.shape[1])
        self._texture_whitening = np.linalg.cholesky(np.linalg.inv(cov))
        held = self.see(calibration)
        self._class_scale = self._learn_class_scale(held)
        scores = self.scores(held)
        self.tail, self.limits = joint_limits(scores, false_alarm_rate)
        self.batch_size = min(batch_size, len(held.labels) // 2, len(self.reference.labels) // 2)
        self.frechet_limit, self.score_limit = self._batch_limits(held, draws, seed)

    def see(self, pictures: Pictures) -> Seen:
        """Features, probabilities and texture of pictures."""
        _check(pictures, "pictures")
        images = np.asarray(pictures.images, np.float32)
        return Seen(
            np.asarray(pictures.labels, int),
            images[..., 0],
            frechet.check_features(self._features_fn(images)),
            check_probabilities(self._probabilities_fn(images)),
            texture(images).rows,
        )

    def _standard(self, features: np.ndarray) -> np.ndarray:
        return (features - self._scale[0]) / self._scale[1]

    def _raw_scores(self, seen: Seen) -> dict[str, np.ndarray]:
        reference = self.reference
        rows, asked = np.arange(len(seen.labels)), seen.labels
        classes = seen.probabilities.shape[1]
        known = np.unique(reference.labels)
        if not np.isin(asked, known).all():
            found = sorted(set(np.unique(asked)) - set(known))
            raise InputError("gate", "class", f"no real picture of class {found}", "real pictures of every class asked")
        far = class_distances(self._standard(seen.features), self._standard_reference, reference.labels, classes)
        elsewhere, others = far.copy(), seen.probabilities.copy()
        elsewhere[rows, asked], others[rows, asked] = np.inf, 1e-12
        mine = far[rows, asked] + 1e-9
        odds = np.log(others.max(1)) - np.log(seen.probabilities[rows, asked])
        nearer = np.log(mine) - np.log(elsewhere.min(1))
        nearest = copy_distance(seen.pixels, reference.pixels)
        odd = np.linalg.norm((seen.texture - self._texture_mean) @ self._texture_whitening, axis=1)
        return {
            "far": np.log(mine),
            "copy": -np.log(nearest + 1e-4),
            "class": odds + _NEIGHBOUR_WEIGHT * np.where(np.isfinite(nearer), nearer, 0.0),
            "texture": odd,
            "noise": seen.texture[:, -2],
            "blur": -seen.texture[:, -1],
        }

    def _learn_class_scale(self, held: Seen) -> dict[int, tuple[float, float]]:
        """Centre and spread of `far` by class: rare classes lie sparser, which is no fault."""
        far = self._raw_scores(held)["far"]
        whole = float(np.median(far)), float(far.std() + 1e-9)
        found = {}
        for word in np.unique(self.reference.labels):
            mine = far[held.labels == word]
            found[int(word)] = (
                (float(np.median(mine)), float(mine.std() + 1e-9)) if len(mine) >= _MIN_PER_CLASS else whole
            )
        return found

    def scores(self, seen: Seen) -> dict[str, np.ndarray]:
        """Fault -> [n]; larger is worse."""
        scores = self._raw_scores(seen)
        scale = np.array([self._class_scale[int(word)] for word in seen.labels])
        scores["far"] = (scores["far"] - scale[:, 0]) / scale[:, 1]
        return scores

    def judge(self, pictures: Pictures) -> Verdicts:
        """Accept or reject each picture, with reasons."""
        scores = self.scores(self.see(pictures))
        excess = np.stack([(scores[name] - limit) for name, limit in self.limits.items()], axis=1)
        names = list(self.limits)
        reasons = [[names[j] for j in np.argsort(-row) if row[j] > 0] for row in excess]
        return Verdicts(np.asarray((excess <= 0).all(1)), reasons, scores, excess.max(1))

    def _draw(self, seen: Seen, size: int, rng: np.random.Generator) -> np.ndarray:
        return rng.permutation(len(seen.labels))[:size]

    def _batch_limits(self, held: Seen, draws: int, seed: int) -> tuple[float, float]:
        rng = np.random.default_rng(seed)
        distances, found = [], []
        for _ in range(draws):
            rows = self._draw(held, self.batch_size, rng)
            others = self._draw(self.reference, self.batch_size, rng)
            distances.append(frechet.frechet_distance(held.features[rows], self.reference.features[others]))
            found.append(inception_style_score(held.probabilities[rows]))
        # Draws from a finite set overlap and so vary less than new batches will (finite population).
        share = self.batch_size / min(len(held.labels), len(self.reference.labels))
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
        rows = rng.permutation(len(pictures.labels))[: self.batch_size]
        seen = self.see(Pictures(pictures.images[rows], np.asarray(pictures.labels)[rows]))
        others = self._draw(self.reference, self.batch_size, rng)
        distance = frechet.frechet_distance(seen.features, self.reference.features[others])
        score = inception_style_score(seen.probabilities)
        good = bool(distance <= self.frechet_limit and score >= self.score_limit)
        return BatchVerdict(good, distance, score, self.frechet_limit, self.score_limit)

    def to_json(self) -> dict[str, Any]:
        """The limits and what they rest on."""
        return {
            "false_alarm_rate": self.rate,
            "tail": self.tail,
            "limits": self.limits,
            "reference_pictures": len(self.reference.labels),
            "batch_size": self.batch_size,
            "frechet_limit": self.frechet_limit,
            "score_limit": self.score_limit,
        }


def joint_limits(scores: dict[str, np.ndarray], rate: float) -> tuple[float, dict[str, float]]:
    """(largest tail, limits): tails of real pictures by TAIL_SHARES, all together at most `rate` of them.

    Conservative for finite samples: at most floor(rate (n + 1)) - 1 of the n pictures lie beyond a limit.
    """
    names = list(scores)
    values = np.stack([scores[name] for name in names])
    shares = np.array([TAIL_SHARES.get(name, 1) for name in names])
    count = values.shape[1]
    allowed = max(int(np.floor(rate * (count + 1))) - 1, 0)
    ordered = np.sort(values, axis=1)

    def limits_at(k: int) -> np.ndarray:
        """k pictures beyond the limit of the largest share."""
        return ordered[np.arange(len(names)), count - 1 - k * shares // shares.max()]

    beyond = 0
    for k in range(1, allowed + 1):  # the union grows with k
        if int((values > limits_at(k)[:, None]).any(0).sum()) > allowed:
            break
        beyond = k
    return beyond / count, dict(zip(names, limits_at(beyond).tolist(), strict=True))


def describe(reasons: Sequence[str]) -> str:
    """Reasons in words, for a table."""
    return "; ".join(SAYS[name] for name in reasons)
