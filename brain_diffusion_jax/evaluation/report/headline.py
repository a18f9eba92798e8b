"""The few numbers that stand at the head of a report."""

from __future__ import annotations

import numpy as np

from brain_diffusion_jax.evaluation.metrics.metric_id import DARK, MetricId
from brain_diffusion_jax.evaluation.report import figures
from brain_diffusion_jax.evaluation.report.report_tables import number
from brain_diffusion_jax.evaluation.study.study_result import StudyResult


def headline(result: StudyResult) -> list[dict[str, str]]:
    """The four sentences a hurried reader takes away."""
    cards = []
    fd, target = figures.fd_metric(result.rows), result.target
    ranked = [row for row in result.generated if row.has(fd)]
    if ranked:
        best = min(ranked, key=lambda row: row.value(fd))
        cards.append(
            {
                "label": "Closest to real pictures",
                "value": best.name,
                "note": f"{fd} {number(best.value(fd))}; real people {number(figures.floor_row(result).value(fd))}",
            }
        )
    error = result.reading.of("mae")
    ranked = [row for row in result.generated if row.has(error)]
    if ranked:
        best = min(ranked, key=lambda row: row.value(error))
        unit = f" {result.unit}" if result.unit else ""
        cards.append(
            {
                "label": f"Closest to the {target} asked for",
                "value": best.name,
                "note": f"error {number(best.value(error))}{unit}, on real people {number(result.real.value(error))}",
            }
        )
    metric = MetricId(DARK, statistic="spearman")
    ranked = [row for row in result.generated if np.isfinite(row.value(metric))]
    if ranked:
        best = max(ranked, key=lambda row: row.value(metric))
        cards.append(
            {
                "label": f"Dark fraction follows {target}",
                "value": number(best.value(metric)),
                "note": f"Spearman at {best.name}; real pictures {number(result.real.value(metric))}",
            }
        )
    if result.privacy.get("scales"):
        copies = sum(len(s["copies"]) for s in result.privacy["scales"].values())
        cards.append(
            {
                "label": "Copies of training pictures",
                "value": str(copies),
                "note": f"among {sum(row.num_pictures for row in result.generated)} generated pictures",
            }
        )
    return cards
