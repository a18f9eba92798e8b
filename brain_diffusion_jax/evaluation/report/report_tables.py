"""The tables of a report: which metric goes where, how a number and its interval are written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from brain_diffusion_jax.evaluation.metrics import metric_id
from brain_diffusion_jax.evaluation.metrics.detail import GRADIENT, SPECTRUM
from brain_diffusion_jax.evaluation.metrics.gradient_ssim import NAME as GRADIENT_SSIM
from brain_diffusion_jax.evaluation.metrics.metric_id import MetricId
from brain_diffusion_jax.evaluation.metrics.pairs import OF_PAIRS
from brain_diffusion_jax.evaluation.study.published import PROTOCOL_SOURCE, PROTOCOLS, published
from brain_diffusion_jax.evaluation.study.study_result import Row, metrics_of

_STATISTICS = {"mae": "MAE", "mse": "MSE", "rmse": "RMSE", "majority": "commonest"}
DARK = {
    MetricId(metric_id.DARK, statistic="spearman"): "dark fraction: Spearman with {target}",
    **{MetricId(metric_id.DARK, statistic=name): name for name in ("mean", "under 30", "over 75")},
}
TISSUE = {
    metric: str(metric)
    for part in metric_id.TISSUES
    for metric in (MetricId(part, statistic=name) for name in ("mean", "spearman"))
}


def _privacy(headings: Mapping[str, str]) -> dict[MetricId, str]:
    return {MetricId(metric_id.PRIVACY, statistic=name): heading for name, heading in headings.items()}


COPIES = _privacy(
    {
        "copies": "copies flagged",
        "held_out_copies": "… of held-out",
        "copy_share": "share flagged",
        "greatest_likeness": "greatest likeness",
        "held_out_likeness": "… of held-out",
        "share_closer": "share nearer than 5 % of held-out",
    }
)
NEAREST = _privacy(
    {
        "auc": "chance to be nearer",
        "features_auc": "… in features",
        "median_distance": "median distance",
        "held_out_median": "… of held-out",
        "ratio": "nearest / next",
        "held_out_ratio": "… of held-out",
    }
)
MANIFOLD = {MetricId(statistic=name): name for name in ("precision", "recall", "density", "coverage")}
Columns = Mapping[MetricId, str]  # which number, and its heading


def distances(rows: Sequence[Row]) -> dict[MetricId, str]:
    """Frechet distances by every extractor, then kernel distances."""
    measured = metrics_of(rows)
    return {m: str(m) for group in ("FD", "KID") for m in measured if m.group == group}


def similarity(rows: Sequence[Row]) -> dict[MetricId, str]:
    """SSIM over pairs, then MS-SSIM by the number of its scales, and what is measured on random pairs."""
    multi = [m for m in metrics_of(rows) if m.group.startswith("MS-") or m.statistic.endswith(OF_PAIRS)]
    return {MetricId(metric_id.SSIM): "SSIM over pairs", **{m: str(m) for m in multi}}


def protocol_table(rows: Sequence[Row], protocol: str) -> dict[str, Any] | None:
    """Rows of this study and of the paper whose protocol it follows: distance, MS-SSIM and 4-G-R-SSIM of pairs.

    The distance is that of MedicalNet's features where they were measured, else of the first extractor, which the
    heading names and the caption tells apart. None for a study without a protocol.
    """
    if protocol not in PROTOCOLS:
        return None
    metrics = metrics_of(rows)
    distances = [metric for metric in metrics if metric.group == "FD"]
    distance = next((m for m in distances if m.reader.startswith("medicalnet")), next(iter(distances), MetricId("FD")))
    chosen = (
        distance,
        next((m for m in metrics if m.statistic.startswith("MS-SSIM") and m.statistic.endswith(OF_PAIRS)), MetricId()),
        MetricId(statistic=f"{GRADIENT_SSIM} {OF_PAIRS}"),
    )
    lines = [
        {
            "name": row.name,
            "real": row.scale is None,
            "cells": [
                {"value": _four(item.get("value")), "interval": interval_text(item), "published": ""}
                for item in (row.number(metric) for metric in chosen)
            ],
        }
        for row in rows
    ]
    lines += [
        {
            "name": name,
            "real": False,
            "cells": [{"value": f"{value:g}", "interval": "", "published": ""} for value in values],
        }
        for name, values in PROTOCOLS[protocol].items()
    ]
    caption = PROTOCOL_SOURCE
    if distance.reader and not distance.reader.startswith("medicalnet"):
        caption = f"The published distances are of MedicalNet's features, ours of {distance.reader}. {caption}"
    heading = f"FID ({distance.reader})" if distance.reader else "FID"
    return {"head": ["", heading, "MS-SSIM", GRADIENT_SSIM], "rows": lines, "caption": caption}


def _four(value: float | None) -> str:
    """As many digits as the paper gives."""
    return number(value) if value is None else f"{value:.4f}"


def fine_structure(rows: Sequence[Row]) -> dict[MetricId, str]:
    """Gradient energy and energy by band over those of the real images."""
    return {m: str(m) for m in metrics_of(rows) if m.statistic.startswith((GRADIENT, SPECTRUM))}


def agreement(target: str) -> dict[MetricId, str]:
    """What the predictor says of the target."""
    return {m: _heading(m) for m in (MetricId("", target, name) for name in metric_id.NUMERIC)}


def corrected(target: str) -> dict[MetricId, str]:
    """The same after the correction for regression to the mean."""
    return {m: _heading(m) for m in (MetricId(metric_id.CORRECTED, target, n) for n in ("mae", "slope", "bias"))}


def second_probe(target: str) -> dict[MetricId, str]:
    """What the second probe says of the target."""
    second = MetricId("", target, "", metric_id.SECOND)
    metrics = [second.of(name) for name in ("mae", "rmse", "r", "slope", "bias")]
    return {m: _heading(m) for m in (*metrics, second.of("slope", metric_id.CORRECTED))}


def other_covariates(rows: Sequence[Row], target: str) -> dict[MetricId, str]:
    """Fidelity to words, then agreement of the numbers that are not the target."""
    others = [m for m in metrics_of(rows) if m.covariate not in ("", target) and not m.group and not m.reader]
    words = [m for m in others if m.statistic in metric_id.CATEGORICAL]
    numbers = [m for m in others if m.statistic in ("mae", "r")]
    return {
        **{m: f"commonest {m.covariate}" if m.statistic == "majority" else str(m) for m in words},
        **{m: f"{m.covariate} {_heading(m)}" for m in numbers},
    }


def _heading(metric: MetricId) -> str:
    name = _STATISTICS.get(metric.statistic, metric.statistic)
    return f"{name}, corrected" if metric.group == metric_id.CORRECTED else name


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


def table(
    rows: Sequence[Row],
    columns: Columns,
    *,
    caption: str = "",
    beside_published: bool = False,
    target: str = "",
) -> dict[str, Any] | None:
    """Rows by metrics for the template; None when no row has any of them. target: fills headings that name it."""
    columns = {metric: heading for metric, heading in columns.items() if any(row.has(metric) for row in rows)}
    if not columns:
        return None
    lines = []
    for row in rows:
        cells = []
        for metric in columns:
            item = row.number(metric)
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
    headings = [heading.replace("{target}", target or "the target") for heading in columns.values()]
    return {"head": ["", *headings], "rows": lines, "caption": caption}
