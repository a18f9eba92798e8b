"""Predicted ages of people as tables and a figure. Rows: those of `api.scan_ages.predict`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from brain_diffusion_jax import files
from brain_diffusion_jax.data.table import write_table

LIKELY_YEARS = (0.0, 120.0)
LIKELY = f"{LIKELY_YEARS[0]:g} to {LIKELY_YEARS[1]:g} years"


def likely(age: float | None) -> bool:
    """Whether a number can be somebody's age."""
    return age is not None and LIKELY_YEARS[0] <= age <= LIKELY_YEARS[1]  # False for NaN


def write(out: Path, rows: Sequence[dict[str, Any]], correction: Callable[[Any], Any] | None = None) -> None:
    """ages.csv, slices.csv and ages.png."""

    def number(value: float | None) -> str:
        return "" if value is None else f"{value:.3f}"

    def lines() -> Iterator[list[Any]]:
        for row in rows:
            corrected = float(correction(row["age"])) if correction and row["age"] is not None else None
            notes = row["notes"]
            if corrected is not None and not likely(corrected):
                notes = [*notes, f"the bias-corrected age ({corrected:.4g}) is not {LIKELY} and was left out"]
                corrected = None
            ages = [number(row[k]) for k in ("true_age", "age", "spread", "mean")]
            last = ["; ".join(notes), row["refused"], row["path"]]
            yield [row["name"], *ages, number(corrected), len(row["ages"]), *last]

    header = ["scan", "true_age", "age", "spread", "mean", "bias_corrected", "slices", "notes", "refused", "path"]
    write_table(out / "ages.csv", header, lines())
    each = (
        [row["name"], index, number(age)] for row in rows for index, age in zip(row["slices"], row["ages"], strict=True)
    )
    write_table(out / "slices.csv", ["scan", "slice", "age"], each)
    if any(row["age"] is not None for row in rows):
        plot(out / "ages.png", [row for row in rows if row["age"] is not None])


def plot(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """PNG: up to eight people slice by slice; more as medians with spread, over the true age where known."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 4.5), layout="constrained")
    axes = figure.subplots()
    if len(rows) <= 8:
        for row in rows:
            label = files.readable(f"{row['name']}: {row['age']:.1f}")
            (line,) = axes.plot(row["slices"], row["ages"], ".-", linewidth=0.8, label=label)
            axes.axhline(row["age"], color=line.get_color(), linewidth=1, linestyle="--")
        axes.set(xlabel="slice", ylabel="predicted age (years)", title="Each slice, and the median (dashed)")
        axes.legend(frameon=False, fontsize=8)
    else:
        known = all(row["true_age"] is not None for row in rows)
        ordered = rows if known else sorted(rows, key=lambda row: row["age"])
        x = [row["true_age"] for row in ordered] if known else list(range(1, len(rows) + 1))
        ages = [row["age"] for row in ordered]
        axes.errorbar(x, ages, yerr=[row["spread"] for row in ordered], fmt="o", ms=3.5, lw=0.7)
        if known:
            ends = [min(*x, *ages), max(*x, *ages)]
            axes.plot(ends, ends, color="0.7", linewidth=1, zorder=0)
        axes.set(xlabel="true age (years)" if known else "person, by predicted age", ylabel="predicted age (years)")
        axes.set_title(f"{len(rows)} people: median over slices and spread")
    with files.replacing(path) as file:
        figure.savefig(file, format="png", dpi=120)


def text(rows: Sequence[dict[str, Any]]) -> str:
    """The rows for a terminal."""
    width = max(len(row["name"]) for row in rows)
    lines = [f"{'scan':<{width}}  {'age':>6}  {'spread':>6}"]
    for row in rows:
        ages = f"{row['age']:6.1f}  {row['spread']:6.1f}" if row["age"] is not None else f"{'-':>6}  {'-':>6}"
        lines.append(f"{row['name']:<{width}}  {ages}  {row['refused'] or '; '.join(row['notes'])}".rstrip())
    return "\n".join(lines)
