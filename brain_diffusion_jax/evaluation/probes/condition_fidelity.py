"""Do images show the condition that was asked for? Measured against requested, beside a baseline and real people.

A correlation alone proves little: a linear model without a network reaches r 0.95 for ventricles. Slope, bias and mean
error stand beside it, and the same numbers of a baseline (PCA-Gauss) and of real people: the instrument's own error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from brain_diffusion_jax.covariates import Continuous
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation.metrics import measures
from brain_diffusion_jax.evaluation.metrics.anatomy import spearman
from brain_diffusion_jax.evaluation.metrics.metric_id import MetricId
from brain_diffusion_jax.evaluation.study.study_result import Row

FRACTIONS = (-0.3, -0.1, 0.1, 0.3, 0.5, 0.7, 0.9, 1.1, 1.3)  # of the range seen in training


@dataclass(frozen=True)
class Answered:
    """What was asked of each image of a set, or is known of real people, and what is measured on it, in one unit.

    people: whose condition each image has; intervals resample them. generated: False for real people.
    """

    requested: Float[np.ndarray, " n"]
    measured: Float[np.ndarray, " n"]
    people: Sequence[str]
    generated: bool = True


def fidelity_rows(
    covariate: Continuous, sets: Mapping[str, Answered], *, replicates: int = 200, seed: int = 0
) -> list[Row]:
    """One row a set, by name: MAE, r, slope and bias (among others) of measured over requested, intervals over people.

    Put model, PCA-Gauss and real people in `sets`; for real people `requested` is what their table says. The relation
    of one covariate with another one's measurement, such as age with ventricles, is a row of its own. Rows hold each
    image's pair of values, for `report.condition_curves`.
    """
    of = MetricId(covariate=covariate.name)
    rows = []
    for name, found in sets.items():
        if len(found.people) != len(found.requested):
            people = f"{len(found.people)} people for {len(found.requested)} images"
            raise InputError(f"condition fidelity, {name}", "people", people, "one for each image")
        numbers = measures.numeric(of, found.requested, found.measured, found.people, replicates, seed)
        pictures = {
            f"requested {covariate.name}": np.asarray(found.requested, float).tolist(),
            f"measured {covariate.name}": np.asarray(found.measured, float).tolist(),
        }
        scale = 1.0 if found.generated else None
        rows.append(Row(name, scale, len(found.people), len(set(found.people)), numbers, pictures))
    return rows


@dataclass(frozen=True)
class Extrapolation:
    """Measured values where a covariate is asked for at and beyond the ends of its training range.

    fractions [m]: of the range, 0 its low end and 1 its high end; requested [m], in the covariate's unit;
    measured [m, n]: of n images each, column j with the same other conditions and noise throughout.
    """

    fractions: Float[np.ndarray, " m"]
    requested: Float[np.ndarray, " m"]
    measured: Float[np.ndarray, "m n"]

    @property
    def means(self) -> Float[np.ndarray, " m"]:
        """Mean over the images of each request."""
        return self.measured.mean(1)

    @property
    def rank_correlation(self) -> float:
        """Spearman's rho of the means with the requests: 1 where they always rise."""
        return spearman(self.requested, self.means)

    @property
    def kendall(self) -> Float[np.ndarray, " n"]:
        """Kendall's tau of each image's answers with the requests: 1 where they always rise, 0 where all are equal."""
        from scipy.stats import kendalltau

        found = [kendalltau(self.requested, answers).statistic for answers in self.measured.T]
        return np.nan_to_num(np.asarray(found, float))

    @property
    def monotone(self) -> bool:
        """Whether the means rise over all that was asked for."""
        return bool((np.diff(self.means) > 0).all())

    @property
    def monotone_to(self) -> float:
        """The fraction up to which the means rise from the middle of the range on; 1.3 is the goal."""
        return self._reach(1)

    @property
    def monotone_from(self) -> float:
        """The fraction down to which the means fall from the middle of the range on."""
        return self._reach(-1)

    def _reach(self, step: int) -> float:
        at, means = int(np.abs(self.fractions - 0.5).argmin()), self.means
        while 0 <= at + step < len(means) and step * (means[at + step] - means[at]) > 0:
            at += step
        return float(self.fractions[at])

    def to_json(self) -> dict[str, object]:
        """What a study keeps: the fields, and what follows from them."""
        return {
            "fractions": self.fractions.tolist(),
            "requested": self.requested.tolist(),
            "measured": self.measured.tolist(),
            "means": self.means.tolist(),
            "rank_correlation": self.rank_correlation,
            "kendall": self.kendall.tolist(),
            "monotone": self.monotone,
            "monotone_from": self.monotone_from,
            "monotone_to": self.monotone_to,
        }

    @classmethod
    def from_json(cls, items: Mapping[str, Any]) -> Extrapolation:
        """The inverse of `to_json`."""
        return cls(*(np.asarray(items[name], float) for name in ("fractions", "requested", "measured")))

    def describe(self, name: str) -> str:
        """In one sentence, for a covariate of this name."""
        ends = f"{self.monotone_from:g} to {self.monotone_to:g} of its range"
        asked = f"asked for from {self.fractions[0]:g} to {self.fractions[-1]:g}"
        how = "monotone throughout" if self.monotone else "not monotone throughout"
        tau = self.kendall
        return (
            f"Mean {name} rises from {ends} ({asked}: {how}); Kendall's tau of single images "
            f"{tau.mean():.2f} on average, {tau.min():.2f} at the least, of {len(tau)}."
        )


def extrapolate(
    sample: Callable[[list[dict[str, object]]], np.ndarray],
    measure: Callable[[np.ndarray], Float[np.ndarray, " n"]],
    covariate: Continuous,
    others: Sequence[Mapping[str, object]],
    fractions: Sequence[float] = FRACTIONS,
) -> Extrapolation:
    """Asks for `covariate` at fractions of its range, everything else of each condition in `others` as it is.

    sample: conditions -> images, with the same noise for equally many conditions (one seed); measure: images -> values
    in the covariate's unit. The schema warns of values beyond the range: catch it where it is meant.
    Raises InputError for fewer than 3 fractions, or fractions that do not rise.
    """
    places = np.asarray(fractions, float)
    if len(places) < 3 or not (np.diff(places) > 0).all():
        raise InputError("extrapolation", "fractions", list(fractions), "at least 3, rising")
    if not others:
        raise InputError("extrapolation", "conditions", "none", "at least one to start from")
    requested = covariate.in_unit(places)
    measured = []
    for value in requested:
        conditions = [{**other, covariate.name: float(value)} for other in others]
        measured.append(np.asarray(measure(sample(conditions)), float).reshape(len(others)))
    return Extrapolation(places, requested, np.stack(measured))
