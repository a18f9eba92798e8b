"""Results as aligned columns for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from brain_diffusion_jax.evaluation.metrics.measures import Numbers
from brain_diffusion_jax.evaluation.metrics.metric_id import DARK, SSIM, MetricId
from brain_diffusion_jax.evaluation.report.figures import fd_metric
from brain_diffusion_jax.evaluation.report.report_tables import interval_text, number
from brain_diffusion_jax.evaluation.study.study_result import StudyResult


def aligned(lines: Sequence[Sequence[str]], right: bool = False) -> str:
    """Words in columns two blanks apart. right: all columns but the first end at the same place."""
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]) if lines else 0)]

    def padded(i: int, word: str) -> str:
        return word.rjust(widths[i]) if right and i else word.ljust(widths[i])

    return "\n".join("  ".join(padded(i, word) for i, word in enumerate(line)).rstrip() for line in lines)


def numbers_table(numbers: Numbers) -> str:
    """A line a number, with its interval."""
    return aligned([[str(name), f"{number(item['value']):>9}", interval_text(item)] for name, item in numbers.items()])


def study_table(result: StudyResult) -> str:
    """The main numbers of every row, then the notes."""
    metrics = [fd_metric(result.rows), MetricId(SSIM), *(result.reading.of(name) for name in ("mae", "rmse", "r"))]
    metrics = [m for m in [*metrics, MetricId(DARK, statistic="spearman")] if any(row.has(m) for row in result.rows)]
    rows = [[row.name, *(number(row.number(m).get("value")) for m in metrics)] for row in result.rows]
    return "\n".join([aligned([["", *map(str, metrics)], *rows], right=True), *result.notes])
