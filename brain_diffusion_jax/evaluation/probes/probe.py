"""Probes: what reads one covariate off images, built from the schema."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from brain_diffusion_jax.covariates import Continuous, Covariate, Schema
from brain_diffusion_jax.evaluation.image_set import ImageSet
from brain_diffusion_jax.evaluation.metrics import measures
from brain_diffusion_jax.evaluation.metrics.agreement import BiasCorrection, correction_of
from brain_diffusion_jax.evaluation.metrics.measures import Numbers
from brain_diffusion_jax.evaluation.metrics.metric_id import SECOND, MetricId
from brain_diffusion_jax.evaluation.probes.features import Extractor, unit_batches
from brain_diffusion_jax.evaluation.probes.pixel_probe import categorical_probe, numeric_probe
from brain_diffusion_jax.evaluation.probes.roles import AGE_UNIT, Roles

PredictFn = Callable[[np.ndarray], np.ndarray]  # unit images [n, *spatial, c] -> values of the target [n]


@dataclass(frozen=True)
class Probe:
    """Reads `covariate` off pictures. name: "" for its first probe, else what tells it from that one.

    read: uint8 or unit images [n, *spatial, c] -> numbers, or words of a categorical covariate, [n].
    """

    covariate: Covariate
    name: str
    read: Callable[[np.ndarray], np.ndarray]

    @property
    def numeric(self) -> bool:
        return isinstance(self.covariate, Continuous)

    @property
    def metric(self) -> MetricId:
        """Names what this probe reads: "age", "age, second reader"."""
        return MetricId(covariate=self.covariate.name, reader=self.name)

    def requested(self, images: ImageSet) -> np.ndarray:
        """What the images' conditions say of the covariate."""
        column = images.column(self.covariate.name)
        return column.astype(float) if self.numeric else column

    def correction(self, images: ImageSet, predicted: np.ndarray) -> BiasCorrection | None:
        """For regression to the mean, from real held-out images; None for words and where it can't be trusted."""
        return correction_of(self.requested(images), predicted) if self.numeric else None

    def numbers(
        self,
        images: ImageSet,
        predicted: np.ndarray,
        options: dict[str, Any],
        *,
        correction: BiasCorrection | None = None,
        reader: str | None = None,
    ) -> Numbers:
        """Agreement of numbers, or fidelity to categories, with intervals. reader: in the keys, instead of `name`."""
        of = self.metric if reader is None else MetricId(covariate=self.covariate.name, reader=reader)
        requested = self.requested(images)
        if self.numeric:
            return measures.numeric(of, requested, predicted, images.people, correction=correction, **options)
        return measures.categorical(of, requested, predicted, images.people, **options)


@dataclass(frozen=True)
class Instruments:
    """What images are read with. extractors: the first also serves neighbours (precision, copies).

    predictor: None leaves the target to the pixel probe. second_predictor: another one, not used for any choice;
    None is the pixel probe. reads: name of the covariate that the predictors were trained on, "" for any target.
    measures: of covariates that were measured on the data, by name: the same instrument, which comes first.
    """

    extractors: Sequence[Extractor]
    predictor: PredictFn | None = None
    second_predictor: PredictFn | None = None
    reads: str = ""
    measures: Mapping[str, PredictFn] = field(default_factory=dict)

    def roles(self, schema: Schema, target: str = "", position: str = "") -> Roles:
        """Roles of a schema, where what the predictors read is the target unless another one is named."""
        own = self.reads if any(c.name == self.reads and isinstance(c, Continuous) for c in schema.covariates) else ""
        return Roles.of(schema, target or own, position)

    def fit(self, target: Continuous) -> bool:
        """Whether the predictors read this covariate: by its name, or by its unit where cohorts call ages otherwise."""
        return self.reads in ("", target.name) or target.unit == AGE_UNIT


def of_predictor(covariate: Covariate, name: str, predict: PredictFn, batch_size: int = 64) -> Probe:
    """A probe from a network, one batch in memory at a time."""

    def read(images: np.ndarray) -> np.ndarray:
        parts = [np.asarray(predict(batch), np.float64).reshape(-1) for batch in unit_batches(images, batch_size)]
        return np.concatenate(parts)

    return Probe(covariate, name, read)


def of_pixels(covariate: Covariate, name: str, train: ImageSet) -> Probe:
    """A probe learned from real training images without a network."""
    make = numeric_probe if isinstance(covariate, Continuous) else categorical_probe
    return Probe(covariate, name, make(train.images, train.column(covariate.name), np.asarray(train.people)))


def build(
    instruments: Instruments, roles: Roles, chosen: ImageSet, train: ImageSet | None, batch_size: int = 64
) -> list[Probe]:
    """Probes of every covariate that is known of all `chosen` images.

    The target has two: the first of its instrument and the predictors, and a second one. The others have their
    instrument, or a pixel probe where `train` teaches one.
    """
    probes: list[Probe] = []
    target = roles.target
    covariates: tuple[Covariate, ...] = (*roles.numeric, *roles.categorical)
    for covariate in covariates:
        if not chosen.has(covariate.name):
            continue
        measure = instruments.measures.get(covariate.name)
        first, second = measure, None
        if covariate == target and instruments.fit(target):
            given = (measure, instruments.predictor, instruments.second_predictor)
            first, second = given[1:] if measure is None else given[:2]
        for name, predict in (("", first), (SECOND, second)):
            if predict is not None:
                probes.append(of_predictor(covariate, name, predict, batch_size))
        known = second if covariate == target else first
        if known is None and train is not None and train.varies(covariate.name):
            probes.append(of_pixels(covariate, SECOND if covariate == target else "", train))
    return probes
