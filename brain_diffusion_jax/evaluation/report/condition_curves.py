"""Plots of measured against requested conditions, and of what lies beyond the training range."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from brain_diffusion_jax.covariates import Continuous
from brain_diffusion_jax.evaluation.metrics.metric_id import MetricId
from brain_diffusion_jax.evaluation.probes.condition_fidelity import Extrapolation
from brain_diffusion_jax.evaluation.report.figures import as_svg, colour, new_figure
from brain_diffusion_jax.evaluation.study.study_result import Row

_REAL, _LINE = "#222222", "#bbbbbb"


def _axis_label(word: str, covariate: Continuous) -> str:
    return f"{word} {covariate.name}" + (f" ({covariate.unit})" if covariate.unit else "")


def condition_curves(rows: Sequence[Row], covariate: Continuous) -> str:
    """SVG data URI: measured over requested, a panel for each row of `fidelity_rows`, with the line of equality.

    The panel says slope and r, and shows the fitted line. "" where no row has values of this covariate.
    """
    requested, measured = f"requested {covariate.name}", f"measured {covariate.name}"
    shown = [row for row in rows if requested in row.pictures and measured in row.pictures]
    if not shown:
        return ""
    values = np.concatenate([row.pictures[key] for row in shown for key in (requested, measured)])
    ends = np.array([values.min(), values.max()])
    figure, axes = new_figure(2.6 * len(shown), 2.8, columns=len(shown))
    of = MetricId(covariate=covariate.name)
    for index, (axis, row) in enumerate(zip(axes[0], shown, strict=True)):
        x, y = np.asarray(row.pictures[requested]), np.asarray(row.pictures[measured])
        shade = _REAL if row.scale is None else colour(index, len(shown))
        axis.plot(ends, ends, color=_LINE, linewidth=1)
        axis.scatter(x, y, s=9, alpha=0.65, color=shade, linewidths=0)
        slope = row.value(of.of("slope"))
        if np.isfinite(slope):
            across = np.array([x.min(), x.max()])
            axis.plot(across, y.mean() + slope * (across - x.mean()), color=shade, linewidth=1)
        axis.set_title(f"{row.name}\nslope {slope:.2f}, r {row.value(of.of('r')):.3f}", fontsize=8)
        axis.set(xlim=ends, ylim=ends)
        axis.set_xlabel(_axis_label("requested" if row.scale is not None else "recorded", covariate), fontsize=8)
    axes[0, 0].set_ylabel(_axis_label("measured", covariate), fontsize=8)
    return as_svg(figure)


def extrapolation_curves(found: Mapping[str, Extrapolation], covariate: Continuous) -> str:
    """SVG data URI: mean measured value (and its spread) over what was asked for; the training range is shaded."""
    if not found:
        return ""
    figure, axes = new_figure(5.6, 3.4)
    axis = axes[0, 0]
    axis.axvspan(covariate.low, covariate.high, color="#f0efea", zorder=0)
    for index, (name, curve) in enumerate(found.items()):
        shade, spread = colour(index, len(found)), curve.measured.std(1)
        axis.fill_between(curve.requested, curve.means - spread, curve.means + spread, color=shade, alpha=0.2)
        label = f"{name}, rising to {curve.monotone_to:g} of the range"
        axis.plot(curve.requested, curve.means, "o-", color=shade, markersize=4, linewidth=1.2, label=label)
    ends = np.concatenate([curve.requested for curve in found.values()])
    axis.plot([ends.min(), ends.max()], [ends.min(), ends.max()], color=_LINE, linewidth=1, zorder=1)
    axis.set_xlabel(_axis_label("requested", covariate), fontsize=9)
    axis.set_ylabel(_axis_label("measured", covariate), fontsize=9)
    axis.legend(fontsize=8, frameon=False)
    return as_svg(figure)
