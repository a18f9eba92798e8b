"""One way to measure a set of images, for studies, folders and matched sets alike: read it once, then compare."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from brain_diffusion_jax.covariates import Continuous
from brain_diffusion_jax.evaluation.image_set import ImageSet
from brain_diffusion_jax.evaluation.metrics import measures
from brain_diffusion_jax.evaluation.metrics.agreement import BiasCorrection
from brain_diffusion_jax.evaluation.metrics.anatomy import DarkFraction
from brain_diffusion_jax.evaluation.metrics.measures import Numbers
from brain_diffusion_jax.evaluation.probes.features import Extractor, Features, extract
from brain_diffusion_jax.evaluation.probes.probe import Probe


@dataclass(frozen=True)
class Reading:
    """What extractors, probes and the dark-fraction check answer for a set, row by row, in the order of `ProbeSet`.

    dark: NaN for images that the check is not meant for; None without a check. name, scale: in a study, the row of
    the table and the guidance scale (None for real images).
    """

    images: ImageSet
    features: Sequence[Features]
    predictions: Sequence[np.ndarray]
    dark: np.ndarray | None = None
    name: str = ""
    scale: float | None = None


@dataclass(frozen=True)
class DarkCheck:
    """A dark fraction for the slice it is meant for. position: the covariate that says where a slice lies, if any."""

    fraction: DarkFraction
    position: Continuous | None = None

    def rows(self, images: ImageSet) -> np.ndarray:
        """Indices of the images at the slice; of all images where no slice is named or positions are unknown."""
        at = self.fraction.slice
        if at is None or self.position is None or not images.has(self.position.name):
            return np.arange(len(images))
        return np.flatnonzero(np.abs(images.column(self.position.name).astype(float) - at) < 0.5)

    def __call__(self, images: ImageSet) -> np.ndarray:
        """[n] fractions, NaN away from the slice."""
        rows, fractions = self.rows(images), np.full(len(images), np.nan)
        if len(rows):
            fractions[rows] = self.fraction(images.images[rows])
        return fractions


@dataclass(frozen=True)
class ProbeSet:
    """Reads sets of images and turns readings into numbers with intervals over people.

    replicates: resamples of every interval (0: none), drawn from `seed`.
    """

    extractors: Sequence[Extractor]
    probes: Sequence[Probe] = ()
    dark: DarkCheck | None = None
    replicates: int = 200
    seed: int = 0
    batch_size: int = 64

    @property
    def options(self) -> dict[str, Any]:
        """Of every interval."""
        return {"replicates": self.replicates, "seed": self.seed}

    def __call__(
        self,
        images: ImageSet,
        features: Callable[[Extractor, ImageSet], Features] | None = None,
        *,
        name: str = "",
        scale: float | None = None,
    ) -> Reading:
        """The reading of a set. features: how to get them, such as from a cache; default: `extract`."""
        get = features or (lambda extractor, items: extract(extractor, items.images, self.batch_size))
        return Reading(
            images,
            [get(extractor, images) for extractor in self.extractors],
            [probe.read(images.images) for probe in self.probes],
            None if self.dark is None else self.dark(images),
            name,
            scale,
        )

    def distances(self, mine: Reading, real: Reading) -> Numbers:
        """Frechet and kernel distances by every extractor."""
        numbers: Numbers = {}
        for a, b in zip(mine.features, real.features, strict=True):
            numbers |= measures.distances(a, b, mine.images.people, real.images.people, **self.options)
        return numbers

    def floor(self, real: Reading) -> Numbers:
        """The same distances between random halves of the real people."""
        numbers: Numbers = {}
        for values in real.features:
            numbers |= measures.real_floor(values, real.images.people, self.seed)
        return numbers

    def manifold(self, mine: Reading, real: Reading, neighbours: int = 5) -> Numbers:
        """Precision, recall, density and coverage by the first extractor."""
        if not mine.features:
            return {}
        people = mine.images.people, real.images.people
        return measures.manifold(mine.features[0], real.features[0], *people, k=neighbours, **self.options)

    def corrections(self, real: Reading) -> list[BiasCorrection | None]:
        """Each probe's correction for regression to the mean, by real held-out images."""
        pairs = zip(self.probes, real.predictions, strict=True)
        return [probe.correction(real.images, predicted) for probe, predicted in pairs]

    def agreements(
        self, mine: Reading, corrections: Sequence[BiasCorrection | None] = (), *, reader: str | None = None
    ) -> Numbers:
        """What each probe answers against the request. reader: in the keys, instead of the probes' names."""
        numbers: Numbers = {}
        for index, (probe, predicted) in enumerate(zip(self.probes, mine.predictions, strict=True)):
            correction = corrections[index] if corrections else None
            numbers |= probe.numbers(mine.images, predicted, self.options, correction=correction, reader=reader)
        return numbers
