"""Pictures made for the conditions of real held-out ones, row by row, and two such sets side by side.

What a table of samplers needs: every set has the same conditions and the same noise, so that differences
between sets are far better known than the numbers themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from brain_diffusion_jax.contract import Contract
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation.metrics import anatomy
from brain_diffusion_jax.evaluation.metrics.anatomy import OLD
from brain_diffusion_jax.evaluation.metrics.bootstrap import intervals, intervals_of_two
from brain_diffusion_jax.evaluation.metrics.frechet import frechet_distance
from brain_diffusion_jax.evaluation.metrics.measures import Numbers
from brain_diffusion_jax.evaluation.metrics.metric_id import DARK, MetricId
from brain_diffusion_jax.evaluation.probes import probe
from brain_diffusion_jax.evaluation.probes.probe import Instruments
from brain_diffusion_jax.evaluation.study.picture_sets import PictureSet, schema_of
from brain_diffusion_jax.evaluation.study.reading import DarkCheck, Reader, Reading


class Reference(NamedTuple):
    """A matched set that others are compared with, and its numbers."""

    reading: Reading
    numbers: Numbers


class MatchedSets:
    """Measures sets of pictures whose row i was made for the condition of row i of `real`.

    real: of people the model has not seen. reader: one extractor, the target's probe and a dark-fraction check.
    """

    def __init__(self, real: PictureSet, reader: Reader) -> None:
        if len(reader.extractors) != 1 or len(reader.probes) != 1 or reader.dark is None:
            found = f"{len(reader.extractors)} extractors, {len(reader.probes)} probes, dark check {reader.dark}"
            raise InputError("matched sets", "reader", found, "one extractor, one probe and a dark-fraction check")
        self.real, self.reader = real, reader
        self.dark: DarkCheck = reader.dark
        probe = reader.probes[0]
        self.requested = probe.requested(real)
        self.distance, self.error = MetricId("FD", reader=reader.extractors[0].name), probe.metric.of("mae")
        self.of_real = reader(PictureSet(real.unit, real.conditions, real.people))

    @property
    def decisive(self) -> tuple[str, str]:
        """Keys of the numbers that say whether a set is as good as another: distance, and error of the target."""
        return str(self.distance), str(self.error)

    def read(self, pictures: np.ndarray) -> Reading:
        """pictures: unit [n, rows, cols, 1], in the order of `real`."""
        return self.reader(PictureSet(pictures, self.real.conditions, self.real.people))

    def numbers(self, found: Reading) -> Numbers:
        """Distances to the real set, errors of the target, and dark fractions against the same people's real ones."""
        numbers = self.reader.distances(found, self.of_real) | self.reader.agreements(found)
        return numbers | self._dark(_known(found.dark) - _known(self.of_real.dark))

    def real_numbers(self) -> Numbers:
        """The floor: the probe's own error, and the distance between random halves of the real people."""
        return self.reader.floor(self.of_real) | self.reader.agreements(self.of_real)

    def reference(self, pictures: np.ndarray) -> Reference:
        """A set that others are compared with."""
        found = self.read(pictures)
        return Reference(found, self.numbers(found))

    def columns(self, pictures: np.ndarray, reference: Reference | None = None) -> dict[str, Any]:
        """A row of a table: `numbers`; beside a reference also `differences`, and whether its intervals are met."""
        found, row = self.read(pictures), {}
        numbers = self.numbers(found)
        if reference is not None:
            row["meets"] = meets(numbers, reference.numbers, self.decisive)
            numbers |= self.differences(found, reference.reading)
        return row | flat(numbers)

    def _dark(self, difference: np.ndarray) -> Numbers:
        def means(rows: np.ndarray) -> list[float]:
            values, requested = difference[rows], self.requested[rows]
            sides = (values, values[requested > OLD])
            return [float(np.nanmean(v)) if np.isfinite(v).any() else float("nan") for v in sides]

        found = intervals(means, self.real.people, **self.reader.options)
        names = ("error", f"error over {OLD:.0f}")
        return {str(MetricId(DARK, statistic=n)): e.to_json() for n, e in zip(names, found, strict=True)}

    def differences(self, found: Reading, reference: Reading) -> Numbers:
        """What `found` has more than `reference`: the same resamples of people on both sides."""
        people, options = self.real.people, self.reader.options
        x, r = (side.features[0].values.astype(np.float64) for side in (found, reference))
        y = self.of_real.features[0].values.astype(np.float64)
        distance = intervals_of_two(
            lambda a, b: [frechet_distance(x[a], y[b]) - frechet_distance(r[a], y[b])],
            people,
            people,
            matched=True,
            **options,
        )[0]
        errors = [np.abs(side.predictions[0] - self.requested) for side in (found, reference)]
        error = intervals(lambda rows: [float((errors[0] - errors[1])[rows].mean())], people, **options)[0]
        pairs = (self.distance.of("more"), distance), (self.error.of("mae more"), error)
        return {str(metric): estimate.to_json() for metric, estimate in pairs}


def _known(dark: np.ndarray | None) -> np.ndarray:
    assert dark is not None  # a reader with a check
    return dark


def meets(numbers: Numbers, reference: Numbers, names: Sequence[str]) -> bool:
    """Whether every named number is no higher than the upper end of the reference's interval."""
    return all(numbers[name]["value"] <= reference[name]["high"] for name in names)


def flat(numbers: Numbers) -> dict[str, Any]:
    """Numbers as columns of a table: name, "name low", "name high"."""
    row: dict[str, Any] = {}
    for name, item in numbers.items():
        row |= {name: item["value"], f"{name} low": item["low"], f"{name} high": item["high"]}
    return row


def of(
    real: PictureSet,
    instruments: Instruments,
    contract: Contract | None,
    dark: Mapping[str, Any] | None = None,
    replicates: int = 200,
) -> MatchedSets:
    """MatchedSets by the first extractor and the predictor. dark: as of `config.study.dark_fraction`."""
    roles = instruments.roles(schema_of(real) if contract is None else contract.schema)
    target, predict = roles.target, instruments.predictor
    if target is None or predict is None or not instruments.fit(target) or not real.has(target.name):
        name = instruments.reads or "target"
        raise InputError("people", name, "not known of every picture, or read by no predictor", f"a known {name}")
    check = DarkCheck(anatomy.dark_fraction(dark, contract, real.images), roles.position)
    probes = (probe.of_predictor(target, "", predict),)
    return MatchedSets(real, Reader(instruments.extractors[:1], probes, check, replicates))
