"""What a regressor's own inputs look like, and whether other images are like them.

A network answers anything. From the scans that it was trained and validated on, a profile keeps numbers of each
slice (never an image): intensities, radial spectrum, difference to the next slice, place and symmetry, and the
network's own features. A scan is compared with these scans at the same slices. Every known scan is first compared with
the people of other folds; the limit is the one that, with 95 % confidence, at most `RATE` of such scans break. Where
validation scans lie farther off than training scans do, which the network knows by heart, it moves out by as much.
"""

from __future__ import annotations

import functools
import zipfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from scipy import stats

from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation.probes import slice_numbers
from brain_diffusion_jax.files import replacing

FILE_NAME = "input_profile.npz"
RATE = 0.02  # of good scans that are refused; the promise is 0.05 at most
FEWEST = 20  # scans that a profile needs
MOST = 1000  # scans that it keeps
_FOLDS = 5
_COMPONENTS = 8  # of the network's features
_FAR = 8.0  # a number farther off than this many standard deviations counts as this far
_SHRINKAGE = 0.1  # towards uncorrelated numbers

SAYS = {
    "intensities": "grey levels are not those it was trained on (unit, window, contrast, a mask)",
    "spectrum": "fine structure is not what it was trained on (blur, noise, resampling)",
    "slices": "neighbouring slices differ otherwise than in those it was trained on (missing, repeated, mixed slices)",
    "place": "the head lies or is shaped otherwise than those it was trained on (tilt, shift, size)",
    "features": "the network sees in it what it saw in nobody it was trained on",
}
_FEATURES = (*(f"component {i + 1} of the features" for i in range(_COMPONENTS)), "the rest of the features")
_NAMES = (*slice_numbers.NAMES, *_FEATURES)
_ASPECTS = np.array([*slice_numbers.ASPECTS, *["features"] * len(_FEATURES)])


def _of(aspect: str) -> Bool[np.ndarray, " k"]:
    """Which of _NAMES belong to an aspect."""
    return np.isin(_ASPECTS, [aspect])


class Departure(NamedTuple):
    """One way in which a scan is unlike the known ones; score: distance over the limit, above 1."""

    aspect: str
    score: float
    numbers: str

    def __str__(self) -> str:
        return f"{SAYS[self.aspect]}: {self.numbers}; {self.score:.1f} times the limit"


class _Fit(NamedTuple):
    """Means and spreads of known scans at some slices, and how the aspects of a scan are measured with them."""

    mean: Float[np.ndarray, "s k"]
    spread: Float[np.ndarray, "s k"]
    centre: Float[np.ndarray, " 2k"]
    scale: Float[np.ndarray, " 2k"]
    whiten: dict[str, np.ndarray]


def _summary(fit_mean: np.ndarray, fit_spread: np.ndarray, table: Float[np.ndarray, "n s k"]) -> np.ndarray:
    """[n, 2k]: over slices, the mean and the mean size of standardised numbers (NaN: not measured there)."""
    z = np.clip((table - fit_mean) / fit_spread, -_FAR, _FAR)
    measured = np.maximum(np.isfinite(z).sum(1), 1)
    return np.concatenate([np.nansum(z, 1) / measured, np.nansum(np.abs(z), 1) / measured], axis=1)


def _fit(table: Float[np.ndarray, "n s k"]) -> _Fit:
    count = np.maximum(np.isfinite(table).sum(0), 1)
    mean = np.nansum(table, 0) / count
    spread = np.sqrt(np.nansum((table - mean) ** 2, 0) / count)
    # A number that hardly varies at one slice (a corner that is always black) must not rule: the usual spread helps.
    usual = np.median(spread, axis=0)
    spread = np.maximum(spread, np.maximum(0.5 * usual, 1e-4))
    rows = _summary(mean, spread, table)
    centre, scale = rows.mean(0), np.maximum(rows.std(0), 0.02)
    whiten = {}
    for aspect in SAYS:
        own = np.tile(_of(aspect), 2)
        z = ((rows - centre) / scale)[:, own]
        covariance = z.T @ z / len(z)
        shrunk = (1 - _SHRINKAGE) * covariance + _SHRINKAGE * np.eye(len(covariance))
        whiten[aspect] = np.linalg.inv(np.linalg.cholesky(shrunk))
    return _Fit(mean, spread, centre, scale, whiten)


def _distances(fit: _Fit, table: Float[np.ndarray, "n s k"]) -> Float[np.ndarray, "n a"]:
    """Log distance of each scan in each aspect of SAYS."""
    rows = (_summary(fit.mean, fit.spread, table) - fit.centre) / fit.scale
    each = [np.linalg.norm(rows[:, np.tile(_of(aspect), 2)] @ fit.whiten[aspect].T, axis=1) for aspect in SAYS]
    return np.log(np.stack(each, axis=1) + 0.1)


@dataclass(frozen=True, eq=False)
class InputProfile:
    """indices: slices known; table: numbers of each known scan (NaN: not there); people: a number a scan, the same
    for scans of one person; held_out: not trained on. basis, origin: of the network's features, at each slice.
    """

    indices: Int[np.ndarray, " s"]
    table: Float[np.ndarray, "n s k"]
    people: Int[np.ndarray, " n"]
    held_out: Bool[np.ndarray, " n"]
    basis: Float[np.ndarray, "d c"]
    origin: Float[np.ndarray, "s d"]

    def save(self, run: str | Path) -> None:
        with replacing(Path(run) / FILE_NAME) as file:
            np.savez_compressed(file, **{name: getattr(self, name) for name in self.__dataclass_fields__})

    def depart(
        self,
        images: Shaped[np.ndarray, "n rows cols *c"],
        indices: Sequence[int],
        features: Float[np.ndarray, "n d"],
    ) -> list[Departure]:
        """How one scan is unlike the known ones, worst first; [] if it is like them.

        images: its slices, stored or unit; indices: their slice indices; features: the network's, of each slice.
        Slices that the profile does not know are left out; none left is an InputError.
        """
        place = {int(index): row for row, index in enumerate(self.indices)}
        kept = sorted((i for i, index in enumerate(indices) if int(index) in place), key=lambda i: indices[i])
        if not kept:
            expected = f"slices {self.indices.min()} to {self.indices.max()}"
            raise InputError("input profile", "slices", sorted(indices)[:3], expected)
        rows = tuple(place[int(indices[i])] for i in kept)
        numbers = slice_numbers.measure(images[kept])
        seen = _projected(features[kept] - self.origin[list(rows)], self.basis)
        table = _comparable(np.concatenate([numbers, seen], axis=1)[None], rows)
        fit, ends = self._limits(rows)
        scores = np.exp(_distances(fit, table)[0] - ends)
        departures = [
            Departure(aspect, float(score), _words(fit, table, self.table[:, rows], aspect))
            for aspect, score in zip(SAYS, scores, strict=True)
            if score > 1
        ]
        return sorted(departures, key=lambda d: -d.score)

    @functools.lru_cache(maxsize=8)  # noqa: B019  (a profile lives as long as its model)
    def _limits(self, rows: tuple[int, ...]) -> tuple[_Fit, Float[np.ndarray, " a"]]:
        """The fit to all known scans at these slices, and the log distance of each aspect that is the limit."""
        table = _comparable(self.table[:, rows], rows)
        taught = np.flatnonzero(~self.held_out)
        distances = np.empty((len(table), len(SAYS)))
        folds = self.people % _FOLDS
        for fold in range(_FOLDS):
            own = taught[folds[taught] == fold]
            others = taught[folds[taught] != fold]
            if len(own):
                distances[own] = _distances(_fit(table[others if len(others) else taught]), table[own])
        fit = _fit(table[taught])
        distances[self.held_out] = _distances(fit, table[self.held_out])
        known = distances[taught]
        middle = np.median(known, axis=0)
        spread = np.maximum(1.4826 * np.median(np.abs(known - middle), axis=0), 0.1)
        worst = np.sort(((known - middle) / spread).max(1))
        # With 95 % confidence no more than RATE lie beyond; below 149 scans that takes more than the worst of them.
        rank = int(stats.binom.ppf(0.95, len(worst), 1 - RATE))
        limit = worst[rank] if rank < len(worst) else worst[-1] + 0.5
        farther = 0.0
        if self.held_out.any():
            farther = np.maximum(np.median(distances[self.held_out], axis=0) - middle, 0.0)
        return fit, middle + farther + limit * spread


def _comparable(table: Float[np.ndarray, "n s k"], rows: Sequence[int]) -> Float[np.ndarray, "n s k"]:
    """`table` at these rows of the profile, without differences to a slice that is not the next one there."""
    table = np.array(table)
    gap = np.append(np.diff(rows) != 1, True)
    table[:, gap, _NAMES.index(slice_numbers.NEXT)] = np.nan
    return table


def _projected(features: Float[np.ndarray, "n d"], basis: Float[np.ndarray, "d c"]) -> Float[np.ndarray, "n 9"]:
    """Coordinates on the basis, and the log length of what is left over."""
    along = features @ basis
    rest = np.linalg.norm(features - along @ basis.T, axis=1)
    filled = np.zeros((len(features), _COMPONENTS))
    filled[:, : along.shape[1]] = along
    return np.concatenate([filled, np.log(rest + 1e-6)[:, None]], axis=1)


def _words(fit: _Fit, table: np.ndarray, known: np.ndarray, aspect: str) -> str:
    """The number of the aspect that stands out most: its value, and where 98 % of the known scans lie."""
    row = (_summary(fit.mean, fit.spread, table)[0] - fit.centre) / fit.scale
    sizes = np.where(_of(aspect), np.abs(row).reshape(2, -1).max(0), -1.0)
    k = int(sizes.argmax())
    low, high = np.nanquantile(np.nanmean(known[..., k], axis=1), [0.01, 0.99])
    return f"{_NAMES[k]} {np.nanmean(table[0, :, k]):.3g} in the mean of slices, {low:.3g} to {high:.3g} there"


class KnownScan(NamedTuple):
    """A scan that a profile is made of. held_out: not trained on."""

    person: str
    images: Shaped[np.ndarray, "n rows cols *c"]
    indices: Sequence[int]
    features: Float[np.ndarray, "n d"]
    held_out: bool


def make_profile(scans: Iterable[KnownScan]) -> InputProfile | None:
    """The profile of these scans, one in memory at a time; None for fewer than FEWEST trained on.

    Slices that fewer than half of the scans have are left out.
    """
    kept: list[tuple[str, bool, dict[int, np.ndarray], dict[int, np.ndarray]]] = []
    for scan in scans:
        order = np.argsort(scan.indices)
        numbers = slice_numbers.measure(scan.images[order])
        at = [int(scan.indices[i]) for i in order]
        seen = np.asarray(scan.features, np.float32)[order]
        kept.append((scan.person, scan.held_out, dict(zip(at, numbers)), dict(zip(at, seen))))
    if sum(not held_out for _, held_out, _, _ in kept) < FEWEST:
        return None
    everywhere = Counter(index for _, _, numbers, _ in kept for index in numbers)
    indices = sorted(index for index, count in everywhere.items() if 2 * count >= len(kept))
    if not indices:
        return None
    taught = [seen for _, held_out, _, seen in kept if not held_out]
    origin = np.stack([np.mean([seen[i] for seen in taught if i in seen], axis=0) for i in indices])
    place = {index: row for row, index in enumerate(indices)}
    apart = np.concatenate([[seen[i] - origin[place[i]] for i in seen if i in place] for seen in taught])
    basis = np.linalg.eigh(apart.T @ apart)[1][:, ::-1][:, :_COMPONENTS]
    table = np.full((len(kept), len(indices), len(_NAMES)), np.nan, np.float32)
    for row, (_, _, own, of_features) in enumerate(kept):
        for i in own.keys() & place.keys():
            tail = _projected((of_features[i] - origin[place[i]])[None], basis)[0]
            table[row, place[i]] = [*own[i], *tail]
    names = {name: number for number, name in enumerate(dict.fromkeys(person for person, *_ in kept))}
    people = np.array([names[person] for person, *_ in kept])
    held_out = np.array([flag for _, flag, _, _ in kept])
    return InputProfile(np.array(indices), table, people, held_out, basis, origin)


def load_profile(run: str | Path) -> InputProfile | None:
    """The profile of a run; None where there is none (converted weights, runs of 0.1)."""
    path = Path(run) / FILE_NAME
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as items:
            return InputProfile(**{name: items[name] for name in InputProfile.__dataclass_fields__})
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, EOFError) as error:
        raise InputError(path, "input profile", f"unreadable ({error})", "the file that train-age wrote") from error
