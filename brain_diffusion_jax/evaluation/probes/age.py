"""How good a regressor of age is: errors, bias with age, correction of that bias, intervals over people."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from brain_diffusion_jax import files
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation.metrics.agreement import BiasCorrection, agreement
from brain_diffusion_jax.evaluation.metrics.bootstrap import groups_of, intervals
from brain_diffusion_jax.evaluation.probes.age_prediction import median_and_spread

Ages = Float[np.ndarray, " n"]
METRICS = ("mae", "mse", "rmse", "r", "r2", "bias")


class People(NamedTuple):
    """One row a scan. predicted: median over slices; spread: half the 16th-to-84th percentile range, years."""

    person: list[str]
    scan: list[str]
    age: Ages
    predicted: Ages
    spread: Ages
    slices: Int[np.ndarray, " n"]


def by_scan(person: Sequence[str], scan: Sequence[str], age: Ages, predicted: Ages) -> People:
    """Slices to scans, by the median of the slices' ages, in order of first appearance."""
    rows = groups_of(scan)
    middle, spread = np.array([median_and_spread(predicted[r]) for r in rows]).T
    return People(
        [person[r[0]] for r in rows],
        [scan[r[0]] for r in rows],
        np.array([age[r[0]] for r in rows], float),
        middle,
        spread,
        np.array([len(r) for r in rows]),
    )


def errors(age: Ages, predicted: Ages) -> list[float]:
    """METRICS of one set: those of `agreement`, years; r2 is 1 - residual / total sum of squares.

    r2 is not the square of r: below 0 is worse than guessing the mean.
    """
    line, total = agreement(age, predicted), float(np.sum((age - np.mean(age)) ** 2))
    r2 = 1.0 - float(np.sum((predicted - age) ** 2)) / total if total > 0 else float("nan")
    return [line.mae, line.mse, line.rmse, line.r, r2, line.bias]


def metrics(
    age: Ages, predicted: Ages, people: Sequence[str], *, replicates: int = 1000, seed: int = 0
) -> dict[str, dict[str, Any]]:
    """Every metric as {"value", "low", "high"}: 95 % bootstrap over people. Rows are slices or scans."""
    age, predicted = np.asarray(age, float), np.asarray(predicted, float)
    if len(age) == 0 or len(age) != len(predicted) or not np.isfinite(predicted).all():
        counts = f"{len(age)} ages, {len(predicted)} predictions, finite: {bool(np.isfinite(predicted).all())}"
        raise InputError("age evaluation", "predictions", counts, "as many finite predictions as ages, at least one")
    estimates = intervals(lambda rows: errors(age[rows], predicted[rows]), people, replicates=replicates, seed=seed)
    return {name: estimate.to_json() for name, estimate in zip(METRICS, estimates, strict=True)}


def bias_by_age(
    age: Ages, predicted: Ages, edges: Sequence[float] = (0, 30, 40, 50, 60, 70, 80, 200)
) -> list[dict[str, Any]]:
    """Mean error, MAE and count in each band [edge, next edge) that holds somebody."""
    rows = []
    for low, high in itertools.pairwise(edges):
        inside = (age >= low) & (age < high)
        if inside.any():
            band = agreement(age[inside], predicted[inside])
            rows.append({"low": float(low), "high": float(high), "count": int(inside.sum())})
            rows[-1] |= {"bias": band.bias, "mae": band.mae}
    return rows


def report(
    people: People, slices: tuple[Ages, Ages, Sequence[str]], correction: BiasCorrection, *, replicates: int = 1000
) -> dict[str, Any]:
    """JSON-able: per slice, per scan, per scan corrected, and both biases by age.

    slices: (age, predicted, person) of every slice. correction: fitted on other people than these.
    """
    age, predicted = people.age, people.predicted
    corrected = correction(predicted)
    return {
        "people": len(set(people.person)),
        "scans": len(people.scan),
        "slices": len(slices[0]),
        "per_slice": metrics(*slices, replicates=min(replicates, 200)),
        "per_person": metrics(age, predicted, people.person, replicates=replicates),
        "per_person_corrected": metrics(age, corrected, people.person, replicates=replicates),
        "guessing_the_mean": agreement(age, np.full_like(age, age.mean())).mae,
        "bias_by_age": bias_by_age(age, predicted),
        "bias_by_age_corrected": bias_by_age(age, corrected),
        "error_against_age_r": agreement(age, predicted - age).r,
        "error_against_age_r_corrected": agreement(age, corrected - age).r,
        "spread_over_slices": float(np.mean(people.spread)),
        "correction": {"slope": correction.slope, "intercept": correction.intercept, "fitted_on": "validation people"},
    }


def table(result: dict[str, Any]) -> str:
    """The report as text: one line a metric, with its interval."""
    names = {"per_slice": "per slice", "per_person": "per person", "per_person_corrected": "corrected"}
    head = f"{'':<6}" + "".join(f"{label:>28}" for label in names.values())
    lines = [f"{result['people']} people, {result['scans']} scans, {result['slices']} slices", head]
    for metric in METRICS:
        lines.append(f"{metric:<6}" + "".join(_cell(result[key][metric]).rjust(28) for key in names))
    lines.append("bias by age (years, corrected): " + _bands(result))
    lines.append(f"guessing the mean: MAE {result['guessing_the_mean']:.1f}")
    return "\n".join(lines)


def _cell(number: dict[str, Any]) -> str:
    value, low, high = (number[key] for key in ("value", "low", "high"))
    return ("-" if value is None else f"{value:.2f}") + ("" if low is None else f" [{low:.2f}, {high:.2f}]")


def _bands(result: dict[str, Any]) -> str:
    pairs = zip(result["bias_by_age"], result["bias_by_age_corrected"], strict=True)
    return ", ".join(
        f"{a['low']:.0f}-{a['high']:.0f}: {a['bias']:+.1f} ({b['bias']:+.1f}, n={a['count']})" for a, b in pairs
    )


def calibration_plot(path: str | Path, people: People, correction: BiasCorrection) -> None:
    """PNG: predicted over true age, before and after correction, with the spread over slices."""
    from matplotlib.figure import Figure

    line = agreement(people.age, people.predicted)
    figure = Figure(figsize=(9, 4.4), layout="constrained")
    axes = figure.subplots(1, 2, sharex=True)
    low = min(people.age.min(), people.predicted.min()) - 3
    high = max(people.age.max(), people.predicted.max()) + 3
    left, right = axes
    left.plot([low, high], [low, high], color="0.7", linewidth=1, zorder=0)
    left.errorbar(people.age, people.predicted, yerr=people.spread, fmt="o", ms=4, lw=0.6, label="as predicted")
    left.plot(people.age, correction(people.predicted), "x", ms=4, color="tab:orange", label="bias corrected")
    left.set(xlabel="true age (years)", ylabel="predicted age (years)", xlim=(low, high), ylim=(low, high))
    left.legend(frameon=False)
    right.axhline(0, color="0.7", linewidth=1, zorder=0)
    for predicted, marker, color in (
        (people.predicted, "o", "tab:blue"),
        (correction(people.predicted), "x", "tab:orange"),
    ):
        error = predicted - people.age
        right.plot(people.age, error, marker, ms=4, color=color)
        if len(people.age) > 2 and np.ptp(people.age) > 0:
            slope, intercept = np.polyfit(people.age, error, 1)
            ends = np.array([people.age.min(), people.age.max()])
            right.plot(ends, intercept + slope * ends, color=color, linewidth=1)
    right.set(xlabel="true age (years)", ylabel="predicted - true (years)")
    figure.suptitle(f"MAE {line.mae:.1f} years, r {line.r:.2f}, {len(people.scan)} scans")
    with files.replacing(path) as file:
        figure.savefig(file, format="png", dpi=120)
