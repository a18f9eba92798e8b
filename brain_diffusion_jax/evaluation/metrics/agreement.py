"""Agreement of what images show with what was requested, and the correction for regression to the mean.

A predictor's own error is part of the agreement: it pulls its answers towards the mean (regression dilution),
which its line on real held-out people shows and `correction_of` takes out.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from jaxtyping import Float

from brain_diffusion_jax.errors import InputError

# Dividing by the slope multiplies the predictor's noise by its inverse: by five at most.
LEAST_SLOPE = 0.2


@dataclass(frozen=True)
class Agreement:
    """Of predictions with requests. bias: mean(predicted - requested); slope: of predicted over requested."""

    mae: float
    mse: float
    rmse: float
    r: float
    slope: float
    intercept: float
    bias: float

    def to_json(self) -> dict[str, float]:
        return asdict(self)


def agreement(requested: Float[np.ndarray, " n"], predicted: Float[np.ndarray, " n"]) -> Agreement:
    """r, slope and intercept are NaN where every request (or prediction) is the same."""
    x, y = np.asarray(requested, np.float64), np.asarray(predicted, np.float64)
    if x.shape != y.shape or x.ndim != 1 or not len(x):
        raise InputError("predictions", "shape", y.shape, f"one number for each of {len(x)} requests, at least one")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise InputError("predictions", "values", "NaN or Inf", "finite numbers")
    error = y - x
    mse = float((error**2).mean())
    spread, other = x.std(), y.std()
    covariance = float(((x - x.mean()) * (y - y.mean())).mean())
    slope = covariance / spread**2 if spread > 0 else float("nan")
    r = covariance / (spread * other) if spread > 0 and other > 0 else float("nan")
    return Agreement(
        mae=float(np.abs(error).mean()),
        mse=mse,
        rmse=mse**0.5,
        r=float(r),
        slope=float(slope),
        intercept=float(y.mean() - slope * x.mean()),
        bias=float(error.mean()),
    )


@dataclass(frozen=True)
class BiasCorrection:
    """corrected = (predicted - intercept) / slope, with predicted = intercept + slope * true.

    Fitted on held-out people (Cole's form: de Lange & Cole 2020, doi 10.1016/j.nicl.2020.102229); it needs no
    true value when applied. slope 1, intercept 0 is off.
    """

    slope: float = 1.0
    intercept: float = 0.0

    def __call__(self, predicted: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        return (np.asarray(predicted, np.float64) - self.intercept) / self.slope


def correction_of(true: Float[np.ndarray, " n"], predicted: Float[np.ndarray, " n"]) -> BiasCorrection | None:
    """The line of predicted over true values; None where it can't be trusted.

    That is for fewer than 3 values, equal true values, or a slope below LEAST_SLOPE: such a predictor knows
    next to nothing, and dividing by its slope would invent a result.
    """
    if len(true) < 3 or np.ptp(true) == 0:
        return None
    line = agreement(true, predicted)
    return BiasCorrection(line.slope, line.intercept) if line.slope >= LEAST_SLOPE else None


def categorical_accuracy(requested: np.ndarray, predicted: np.ndarray) -> tuple[float, float]:
    """Fraction of right answers, and the fraction that naming the commonest value always would get."""
    requested = np.asarray(requested)
    if not len(requested):
        raise InputError("predictions", "set", "an empty set", "at least one image")
    _, counts = np.unique(requested, return_counts=True)
    return float((requested == np.asarray(predicted)).mean()), float(counts.max() / len(requested))
