"""Images made for the conditions of real held-out ones, row by row, and two such sets side by side.

What a table of samplers needs: every set has the same conditions and the same noise, so that differences
between sets are far better known than the numbers themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from brain_diffusion_jax.contract import Contract
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation.image_set import ImageSet
from brain_diffusion_jax.evaluation.metrics import anatomy
from brain_diffusion_jax.evaluation.metrics.anatomy import OLD
from brain_diffusion_jax.evaluation.metrics.bootstrap import intervals, intervals_of_two
from brain_diffusion_jax.evaluation.metrics.frechet import frechet_distance
from brain_diffusion_jax.evaluation.metrics.measures import Numbers, keyed
from brain_diffusion_jax.evaluation.metrics.metric_id import DARK, MetricId
from brain_diffusion_jax.evaluation.probes.probe import Instruments, of_predictor
from brain_diffusion_jax.evaluation.study.probe_set import DarkCheck, ProbeSet, Reading


class Reference(NamedTuple):
    """A matched set that others are compared with, and its numbers."""

    reading: Reading
    numbers: Numbers


class MatchedSets:
    """Measures sets of images whose row i was made for the condition of row i of `real`.

    real: of people the model has not seen. probe_set: one extractor and the target's probe; without a dark-fraction
    check (colours, volumes) there are no dark fractions.
    """

    def __init__(self, real: ImageSet, probe_set: ProbeSet) -> None:
        if len(probe_set.extractors) != 1 or len(probe_set.probes) != 1:
            counts = f"{len(probe_set.extractors)} extractors, {len(probe_set.probes)} probes"
            raise InputError("matched sets", "probe set", counts, "one extractor and one probe")
        self.real, self.probe_set = real, probe_set
        probe = probe_set.probes[0]
        self.requested = probe.requested(real)
        self.distance, self.error = MetricId("FD", reader=probe_set.extractors[0].name), probe.metric.of("mae")
        self.of_real = self.read(real.unit)

    @property
    def decisive(self) -> tuple[str, str]:
        """Keys of the numbers that say whether a set is as good as another: distance, and error of the target."""
        return str(self.distance), str(self.error)

    def read(self, images: Float[np.ndarray, "n *spatial c"]) -> Reading:
        """images: in the order of `real`."""
        return self.probe_set(ImageSet(images, self.real.conditions, self.real.people))

    def numbers(self, reading: Reading) -> Numbers:
        """Distances to the real set, errors of the target, and dark fractions against the same people's real ones."""
        numbers = self.probe_set.distances(reading, self.of_real) | self.probe_set.agreements(reading)
        if reading.dark is None or self.of_real.dark is None:
            return numbers
        difference, old = reading.dark - self.of_real.dark, self.requested > OLD

        def means(rows: np.ndarray) -> list[float]:
            sides = (difference[rows], difference[rows][old[rows]])
            return [float(np.nanmean(v)) if np.isfinite(v).any() else float("nan") for v in sides]

        names = (MetricId(DARK, statistic=name) for name in ("error", f"error over {OLD:.0f}"))
        return numbers | keyed(names, intervals(means, self.real.people, **self.probe_set.options))

    def real_numbers(self) -> Numbers:
        """The floor: the probe's own error, and the distance between random halves of the real people."""
        return self.probe_set.floor(self.of_real) | self.probe_set.agreements(self.of_real)

    def reference(self, images: Float[np.ndarray, "n *spatial c"]) -> Reference:
        """A set that others are compared with."""
        reading = self.read(images)
        return Reference(reading, self.numbers(reading))

    def columns(self, images: Float[np.ndarray, "n *spatial c"], reference: Reference | None = None) -> dict[str, Any]:
        """A row of a table: `numbers`; beside a reference also `differences`, and whether its intervals are met."""
        reading, row = self.read(images), {}
        numbers = self.numbers(reading)
        if reference is not None:
            row["meets"] = meets(numbers, reference.numbers, self.decisive)
            numbers |= self.differences(reading, reference.reading)
        return row | flat(numbers)

    def differences(self, reading: Reading, reference: Reading) -> Numbers:
        """What `reading` has more than `reference`: the same resamples of people on both sides."""
        people, options = self.real.people, self.probe_set.options
        x, r, y = (side.features[0].values.astype(np.float64) for side in (reading, reference, self.of_real))
        distance = intervals_of_two(
            lambda a, b: [frechet_distance(x[a], y[b]) - frechet_distance(r[a], y[b])],
            people,
            people,
            matched=True,
            **options,
        )
        errors = [np.abs(side.predictions[0] - self.requested) for side in (reading, reference)]
        error = intervals(lambda rows: [float((errors[0] - errors[1])[rows].mean())], people, **options)
        return keyed((self.distance.of("more"), self.error.of("mae more")), (*distance, *error))


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
    real: ImageSet,
    instruments: Instruments,
    contract: Contract | None,
    dark: Mapping[str, Any] | None = None,
    replicates: int = 200,
) -> MatchedSets:
    """MatchedSets by the first extractor and the predictor. dark: as of `config.study.dark_fraction`."""
    roles = instruments.roles(real.schema() if contract is None else contract.schema)
    target, predict = roles.target, instruments.predictor
    if target is None or predict is None or not instruments.fit(target) or not real.has(target.name):
        name = instruments.reads or "target"
        raise InputError("people", name, "not known of every image, or read by no predictor", f"a known {name}")
    check = None
    if dark is not None or real.is_grey_slices:
        check = DarkCheck(anatomy.dark_fraction(dark, contract, real.images), roles.position)
    probes = (of_predictor(target, "", predict),)
    return MatchedSets(real, ProbeSet(instruments.extractors[:1], probes, check, replicates))
