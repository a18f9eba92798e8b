"""The few numbers that stand at the head of a report."""

from __future__ import annotations

import numpy as np

from brain_diffusion_jax.evaluation.metrics.metric_id import DARK, MetricId
from brain_diffusion_jax.evaluation.report import figures
from brain_diffusion_jax.evaluation.report.report_tables import number
from brain_diffusion_jax.evaluation.study.study_result import StudyResult


def headline(result: StudyResult) -> list[dict[str, str]]:
    """The four sentences a hurried reader takes away."""
    cards: list[dict[str, str]] = []
    fd, error, dark = figures.fd_metric(result.rows), result.reading.of("mae"), MetricId(DARK, statistic="spearman")
    target, unit = result.target, f" {result.unit}" if result.unit else ""

    def card(label: str, value: str, note: str) -> None:
        cards.append({"label": label, "value": value, "note": note})

    if ranked := [row for row in result.generated if row.has(fd)]:
        best = min(ranked, key=lambda row: row.value(fd))
        floor = number(figures.floor_row(result).value(fd))
        card("Closest to real pictures", best.name, f"{fd} {number(best.value(fd))}; real people {floor}")
    if ranked := [row for row in result.generated if row.has(error)]:
        best = min(ranked, key=lambda row: row.value(error))
        note = f"error {number(best.value(error))}{unit}, on real people {number(result.real.value(error))}"
        card(f"Closest to the {target} asked for", best.name, note)
    if ranked := [row for row in result.generated if np.isfinite(row.value(dark))]:
        best = max(ranked, key=lambda row: row.value(dark))
        note = f"Spearman at {best.name}; real pictures {number(result.real.value(dark))}"
        card(f"Dark fraction follows {target}", number(best.value(dark)), note)
    if scales := result.privacy.get("scales"):
        copies, count = sum(len(s["copies"]) for s in scales.values()), sum(r.num_pictures for r in result.generated)
        card("Copies of training pictures", str(copies), f"among {count} generated pictures")
    return cards
