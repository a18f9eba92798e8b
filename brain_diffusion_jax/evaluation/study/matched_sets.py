"""Pictures made for the conditions of real held-out ones, row by row, and two such sets side by side.

What a table of samplers needs: every set has the same conditions and the same noise, so that differences
between sets are far better known than the numbers themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from brain_diffusion_jax.evaluation.metrics import measures
from brain_diffusion_jax.evaluation.metrics.anatomy import DarkFraction
from brain_diffusion_jax.evaluation.metrics.bootstrap import intervals, intervals_of_two
from brain_diffusion_jax.evaluation.metrics.frechet import frechet_distance
from brain_diffusion_jax.evaluation.metrics.measures import Numbers
from brain_diffusion_jax.evaluation.probes.features import Extractor, Features, extract
from brain_diffusion_jax.evaluation.study.picture_sets import PictureSet

OLD = 75.0  # years, as in measures.dark_relation


@dataclass(frozen=True)
class Measured:
    """One set: features, predicted ages and dark fractions (NaN where the check does not apply) of its rows."""

    features: Features
    ages: np.ndarray
    dark: np.ndarray


class Judge:
    """Reads sets of pictures whose row i was made for the condition of row i of `real`.

    real: of people the model has not seen. age_fn: unit pictures [n, r, c, 1] -> years. dark: for pictures
    at its slice. replicates: of every interval.
    """

    def __init__(
        self,
        real: PictureSet,
        extractor: Extractor,
        age_fn: Callable[[np.ndarray], np.ndarray],
        dark: DarkFraction,
        replicates: int = 200,
        seed: int = 0,
    ) -> None:
        self.real, self.extractor, self.age_fn, self.dark = real, extractor, age_fn, dark
        self.options: dict[str, Any] = {"replicates": replicates, "seed": seed}
        self.requested = real.column("age").astype(float)
        self.people: Sequence[str] = real.people
        at = np.ones(len(real), bool)
        if dark.slice is not None and real.has("slice"):
            at = np.abs(real.column("slice").astype(float) - dark.slice) < 0.5
        self.dark_rows = at
        self.of_real = self.read(real.unit[..., None])

    def read(self, pictures: np.ndarray) -> Measured:
        """pictures: unit [n, rows, cols, 1], in the order of `real`."""
        dark = np.full(len(pictures), np.nan)
        dark[self.dark_rows] = self.dark(pictures[self.dark_rows])
        ages = np.asarray(self.age_fn(pictures), np.float64).reshape(-1)
        return Measured(extract(self.extractor, pictures), ages, dark)

    def numbers(self, found: Measured) -> Numbers:
        """Distances to the real set, age errors, and the dark fraction against the same people's real slices."""
        people = self.people
        numbers = measures.distances(found.features, self.of_real.features, people, people, **self.options)
        numbers |= measures.continuous("age", self.requested, found.ages, people, **self.options)
        numbers |= self._dark(found.dark - self.of_real.dark)
        return numbers

    def real_numbers(self) -> Numbers:
        """The floor: the reader's own age error, and the distance between random halves of the real people."""
        numbers = measures.real_floor(self.of_real.features, self.people, self.options["seed"])
        return numbers | measures.continuous("age", self.requested, self.of_real.ages, self.people, **self.options)

    def _dark(self, difference: np.ndarray) -> Numbers:
        def means(rows: np.ndarray) -> list[float]:
            values, ages = difference[rows], self.requested[rows]
            sides = (values, values[ages > OLD])
            return [float(np.nanmean(v)) if np.isfinite(v).any() else float("nan") for v in sides]

        found = intervals(means, self.people, **self.options)
        names = ("dark fraction error", f"dark fraction error over {OLD:.0f}")
        return {name: estimate.to_json() for name, estimate in zip(names, found, strict=True)}

    def differences(self, found: Measured, reference: Measured) -> Numbers:
        """What `found` has more than `reference`: the same resamples of people on both sides."""
        x, r = (side.features.values.astype(np.float64) for side in (found, reference))
        y = self.of_real.features.values.astype(np.float64)
        distance = intervals_of_two(
            lambda a, b: [frechet_distance(x[a], y[b]) - frechet_distance(r[a], y[b])],
            self.people,
            self.people,
            matched=True,
            **self.options,
        )[0]
        errors = [np.abs(side.ages - self.requested) for side in (found, reference)]
        age = intervals(lambda rows: [float((errors[0] - errors[1])[rows].mean())], self.people, **self.options)[0]
        name = f"FD[{self.extractor.name}]"
        return {f"{name} more": distance.to_json(), "age mae more": age.to_json()}


def meets(numbers: Numbers, reference: Numbers, names: Sequence[str]) -> bool:
    """Whether every named number is no higher than the upper end of the reference's interval."""
    return all(numbers[name]["value"] <= reference[name]["high"] for name in names)
