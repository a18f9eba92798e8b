"""The tables of a report: which metric goes where, how a number and its interval are written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from brain_diffusion_jax.evaluation.study.published import published
from brain_diffusion_jax.evaluation.study.study_result import Row

HEADINGS = {
    "SSIM of pairs": "SSIM over pairs",
    "age mae": "MAE",
    "age mse": "MSE",
    "age rmse": "RMSE",
    "age r": "r",
    "age slope": "slope",
    "age bias": "bias",
    "age corrected mae": "MAE, corrected",
    "age corrected slope": "slope, corrected",
    "age corrected bias": "bias, corrected",
    "age, second reader mae": "MAE",
    "age, second reader rmse": "RMSE",
    "age, second reader r": "r",
    "age, second reader slope": "slope",
    "age, second reader bias": "bias",
    "age, second reader corrected slope": "slope, corrected",
    "slice mae": "slice MAE",
    "slice r": "slice r",
    "sex accuracy": "sex accuracy",
    "sex majority": "commonest sex",
    "dark fraction spearman": "dark fraction: Spearman with age",
    "dark fraction mean": "mean",
    "dark fraction under 30": "under 30",
    "dark fraction over 75": "over 75",
    "privacy copies": "copies flagged",
    "privacy held_out_copies": "… of held-out",
    "privacy copy_share": "share flagged",
    "privacy ratio": "nearest / next",
    "privacy held_out_ratio": "… of held-out",
    "privacy share_closer": "share nearer than 5 % of held-out",
    "privacy auc": "chance to be nearer",
    "privacy features_auc": "… in features",
    "privacy median_distance": "median distance",
    "privacy held_out_median": "… of held-out",
    "privacy greatest_likeness": "greatest likeness",
    "privacy held_out_likeness": "… of held-out",
}
SECOND = tuple(f"age, second reader {m}" for m in ("mae", "rmse", "r", "slope", "bias", "corrected slope"))
AGE = ("age mae", "age mse", "age rmse", "age r", "age slope", "age bias")
CORRECTED = ("age corrected mae", "age corrected slope", "age corrected bias")
OTHER_CONDITIONS = ("sex accuracy", "sex majority", "slice mae", "slice r")
DARK = ("dark fraction spearman", "dark fraction mean", "dark fraction under 30", "dark fraction over 75")
TISSUE = tuple(
    f"{part} {kind}"
    for part in ("dark tissue", "grey tissue", "bright tissue", "symmetry")
    for kind in ("mean", "spearman")
)
COPIES = tuple(
    f"privacy {m}"
    for m in ("copies", "held_out_copies", "copy_share", "greatest_likeness", "held_out_likeness", "share_closer")
)
NEAREST = tuple(
    f"privacy {m}" for m in ("auc", "features_auc", "median_distance", "held_out_median", "ratio", "held_out_ratio")
)
MANIFOLD = ("precision", "recall", "density", "coverage")


def number(value: float | None) -> str:
    """Three significant digits, or more where the digits before the point need them."""
    if value is None:
        return "–"
    value = 0.0 if abs(value) < 1e-9 else float(f"{value:.4g}")
    if value == 0 or abs(value) >= 1000:
        return f"{value:.0f}"
    if abs(value) >= 100:
        return f"{value:.1f}"
    if abs(value) >= 1:
        return f"{value:.2f}"
    return f"{value:.3f}" if abs(value) >= 0.001 else f"{value:.1e}"


def interval_text(item: dict[str, Any]) -> str:
    low, high = item.get("low"), item.get("high")
    return "" if low is None or high is None else f"{number(low)} to {number(high)}"


def count_text(item: dict[str, Any]) -> str:
    """Such as "3 of 141": a count needs no interval."""
    return f"{item['value']:.0f} of {item['of']}"


def present(rows: Sequence[Row], metrics: Sequence[str]) -> list[str]:
    return [metric for metric in metrics if any(metric in row.numbers for row in rows)]


def beginning(rows: Sequence[Row], prefix: str) -> list[str]:
    """Metrics whose name begins with `prefix`, in order of appearance."""
    return list(dict.fromkeys(m for row in rows for m in row.numbers if m.startswith(prefix)))


def table(
    rows: Sequence[Row], metrics: Sequence[str], *, caption: str = "", beside_published: bool = False
) -> dict[str, Any] | None:
    """Rows by metrics for the template; None when no row has any of them."""
    metrics = present(rows, metrics)
    if not metrics:
        return None
    lines = []
    for row in rows:
        cells = []
        for metric in metrics:
            item = row.numbers.get(metric, {})
            paper = published(row.name, metric) if beside_published else None
            cells.append(
                {
                    "value": number(item.get("value")) if "of" not in item else count_text(item),
                    "interval": interval_text(item),
                    "published": "" if paper is None else f"{paper:g}",
                }
            )
        if any(cell["value"] != "–" for cell in cells):
            lines.append({"name": row.name, "real": row.scale is None, "cells": cells})
    return {"head": ["", *(HEADINGS.get(m, m) for m in metrics)], "rows": lines, "caption": caption}
