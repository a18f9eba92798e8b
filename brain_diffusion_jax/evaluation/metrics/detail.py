"""Fine structure of one set of images over that of another: gradient energy, and energy in bands of frequency."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from brain_diffusion_jax.evaluation.metrics.bootstrap import intervals_of_two
from brain_diffusion_jax.evaluation.metrics.gradient_energy import gradient_energy
from brain_diffusion_jax.evaluation.metrics.measures import Numbers, keyed
from brain_diffusion_jax.evaluation.metrics.metric_id import MetricId
from brain_diffusion_jax.evaluation.metrics.paired_images import Images
from brain_diffusion_jax.evaluation.metrics.spectrum import BANDS, radial_spectrum

GRADIENT, SPECTRUM = "gradient energy ratio", "spectrum ratio"


@dataclass(frozen=True)
class Detail:
    """What a set is read for once: gradient energy [n] and spectrum [n, bands]. people: whose images they are."""

    people: Sequence[str]
    gradient: Float[np.ndarray, " n"]
    spectrum: Float[np.ndarray, "n bands"]

    @classmethod
    def of(cls, images: Images, people: Sequence[str], bands: int = BANDS) -> Detail:
        """images: stored or unit [n, *spatial, c]."""
        return cls(people, gradient_energy(images), radial_spectrum(images, bands))


def metrics_of_detail(bands: int = BANDS) -> list[MetricId]:
    """Of the numbers of `detail_ratios`; "spectrum ratio 0.25-0.50" is that of a band in fractions of Nyquist."""
    edges = [f"{low / bands:.2f}-{(low + 1) / bands:.2f}" for low in range(bands)]
    return [MetricId(statistic=GRADIENT), *(MetricId(statistic=f"{SPECTRUM} {band}") for band in edges)]


def detail_ratios(
    mine: Detail, real: Detail, *, matched: bool = False, replicates: int = 200, seed: int = 0
) -> Numbers:
    """Means of `mine` over means of `real`, with intervals over people: 1 is as much fine structure, below 1 is blur.

    matched: row i of both is of one person (reconstructions).
    """

    def ratios(a: np.ndarray, b: np.ndarray) -> list[float]:
        with np.errstate(divide="ignore", invalid="ignore"):
            bands = mine.spectrum[a].mean(0) / real.spectrum[b].mean(0)
            return [float(mine.gradient[a].mean() / real.gradient[b].mean()), *bands.tolist()]

    found = intervals_of_two(
        ratios, mine.people, real.people, replicates=replicates, seed=seed, bounds=(0, np.inf), matched=matched
    )
    return keyed(metrics_of_detail(real.spectrum.shape[1]), found)
