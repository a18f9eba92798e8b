"""The plots of a report, as data URIs that need no network."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import UInt8

from brain_diffusion_jax.evaluation.metrics.metric_id import DARK, SSIM, MetricId
from brain_diffusion_jax.evaluation.study.study_result import Row, StudyResult, metrics_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Scales run from light to dark in one hue; real people are always this grey-black.
_REAL, _ACCENT = "#222222", "#b5452c"


def colour(index: int, count: int) -> Any:
    from matplotlib import colormaps

    return colormaps["viridis"](0.1 + 0.72 * index / max(count - 1, 1))


def new_figure(width: float, height: float, columns: int = 1, rows: int = 1) -> tuple[Figure, np.ndarray]:
    """A figure that no window system ever sees."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=8)
    return figure, axes


def as_svg(figure: Figure) -> str:
    from matplotlib import rc_context

    buffer = io.BytesIO()
    with rc_context({"svg.hashsalt": "brain-diffusion"}):  # ids that are not random: equal studies, equal reports
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()


def tile(images: UInt8[np.ndarray, "n rows cols *rgb"], gap: int = 2) -> UInt8[np.ndarray, "rows width *rgb"]:
    """Images in one row, on white."""
    padded = np.pad(images, ((0, 0), (0, 0), (0, gap), *[(0, 0)] * (images.ndim - 3)), constant_values=255)
    return np.concatenate(list(padded), axis=1)[:, : -gap or None]


def _bar(axis: Axes, x: float, number: dict[str, Any], **style: Any) -> None:
    if number.get("low") is not None and number.get("high") is not None:
        axis.plot([x, x], [number["low"], number["high"]], linewidth=1.5, **style)


def fd_metric(rows: Sequence[Row]) -> MetricId:
    """The Frechet distance of the first extractor; one that nothing has where there is no extractor."""
    return next((m for m in metrics_of(rows) if m.group == "FD"), MetricId("FD"))


def in_unit(result: StudyResult) -> str:
    """ ", years" where the unit of the target is known."""
    return f", {result.unit}" if result.unit else ""


def floor_row(result: StudyResult) -> Row:
    """Real pictures at the same number as the generated ones where there are such, else the real halves."""
    return next((row for row in result.rows if row.scale is None and row is not result.real), result.real)


def _by_scale(result: StudyResult) -> list[Row]:
    return sorted(result.generated, key=lambda row: row.scale or 0.0)


def quality_versus_utility(result: StudyResult) -> str:
    """Frechet distance against error of the target over scales: is the prettiest scale also the most useful?"""
    fd, error = fd_metric(result.rows), result.reading.of("mae")
    rows = [row for row in _by_scale(result) if row.has(fd) and row.has(error)]
    if not rows:
        return ""
    figure, axes = new_figure(5.6, 4.0)
    axis = axes[0, 0]
    axis.plot([r.value(fd) for r in rows], [r.value(error) for r in rows], color="#999999", linewidth=1, zorder=1)
    for index, row in enumerate(rows):
        x, y, shade = row.value(fd), row.value(error), colour(index, len(rows))
        _bar(axis, x, row.number(error), color=shade)
        low, high = row.number(fd).get("low"), row.number(fd).get("high")
        if low is not None and high is not None:
            axis.plot([low, high], [y] * 2, color=shade, linewidth=1.5)
        axis.plot(x, y, "o", color=shade, markersize=8)
        axis.annotate(row.name, (x, y), xytext=(8, 7), textcoords="offset points", fontsize=9)
    real, floor = result.real, floor_row(result)
    beside: dict[str, Any] = {"textcoords": "offset points", "fontsize": 8, "color": _REAL}
    if real.has(error):
        axis.axhline(real.value(error), color=_REAL, linewidth=1, linestyle="--")
        place = {"xy": (1.0, real.value(error)), "xycoords": ("axes fraction", "data"), "xytext": (0, 4)}
        axis.annotate("error on real held-out people", ha="right", **place, **beside)
    if floor.has(fd):
        axis.axvline(floor.value(fd), color=_REAL, linewidth=1, linestyle=":")
        place = {"xy": (floor.value(fd), 1.0), "xycoords": ("data", "axes fraction"), "xytext": (4, -8)}
        axis.annotate("real halves" if floor is real else "real people", **place, **beside)
    axis.set_xlabel(f"{fd} to real pictures (lower: closer)", fontsize=9)
    axis.set_ylabel(f"{result.target} error{in_unit(result)} (lower: the {result.target} asked for)", fontsize=9)
    axis.margins(0.15)
    axis.set_ylim(bottom=0)
    return as_svg(figure)


def curves(result: StudyResult) -> str:
    """The main metrics over guidance scales, the real value as a dashed line."""
    wanted = [fd_metric(result.rows), MetricId(SSIM), result.reading.of("mae"), result.reading.of("r")]
    wanted = [m for m in wanted if any(row.has(m) for row in result.generated)]
    if not wanted:
        return ""
    figure, axes = new_figure(2.75 * len(wanted), 2.5, columns=len(wanted))
    rows = _by_scale(result)
    for axis, metric in zip(axes[0], wanted, strict=True):
        scales = [r.scale for r in rows]
        axis.plot(scales, [r.value(metric) for r in rows], "o-", color=_ACCENT, markersize=4, linewidth=1.2)
        for row in rows:
            _bar(axis, row.scale or 0.0, row.number(metric), color=_ACCENT)
        floor = floor_row(result) if metric.group == "FD" else result.real
        if floor.has(metric):
            axis.axhline(floor.value(metric), color=_REAL, linewidth=1, linestyle="--")
        axis.set_title(str(metric), fontsize=9)
        axis.set_xlabel("guidance scale", fontsize=8)
        axis.set_xticks(scales)
    return as_svg(figure)


def _panels(result: StudyResult, y: str, x: str) -> list[Row]:
    return [row for row in result.rows if y in row.pictures and x in row.pictures]


def target_scatter(result: StudyResult) -> str:
    """Predicted against requested target, one panel for each scale and one for real people."""
    predicted, requested = f"predicted {result.reading}", f"requested {result.target}"
    rows = [r for r in _panels(result, predicted, requested) if r.name != "real, training people"]
    if not rows:
        return ""
    figure, axes = new_figure(2.2 * len(rows), 2.5, columns=len(rows))
    every = [v for row in rows for v in (*row.pictures[requested], *row.pictures[predicted])]
    low, high = min(every), max(every)
    for index, (axis, row) in enumerate(zip(axes[0], rows, strict=True)):
        shade = _REAL if row.scale is None else colour(index - 1, max(len(rows) - 1, 1))
        axis.plot([low, high], [low, high], color="#bbbbbb", linewidth=1)
        style: dict[str, Any] = {"s": 8, "alpha": 0.6, "linewidths": 0, "rasterized": len(every) > 4000}
        axis.scatter(row.pictures[requested], row.pictures[predicted], color=shade, **style)
        axis.set_title(row.name, fontsize=9)
        axis.set_xlim(low, high)
        axis.set_ylim(low, high)
        axis.set_xlabel(requested if row.scale is not None else f"true {result.target}", fontsize=8)
    axes[0, 0].set_ylabel(f"predicted {result.target}", fontsize=8)
    return as_svg(figure)


def dark_scatter(result: StudyResult) -> str:
    """Dark fraction over the requested target at each scale, real people behind in grey."""
    requested = f"requested {result.target}"
    rows = [r for r in _panels(result, DARK, requested) if r.scale is not None]
    real_age, real_dark = (np.array(result.anatomy.get(k, []), float) for k in ("real_age", "real_dark"))
    if not rows or not len(real_age):
        return ""
    figure, axes = new_figure(2.5 * len(rows), 2.6, columns=len(rows))
    shown = np.random.default_rng(0).permutation(len(real_age))[:1500]
    top = max(real_dark.max(), *(np.nanmax(np.array(r.pictures[DARK], float)) for r in rows)) * 1.05
    for index, (axis, row) in enumerate(zip(axes[0], rows, strict=True)):
        style: dict[str, Any] = {"s": 10, "linewidths": 0, "rasterized": True}
        axis.scatter(real_age[shown], real_dark[shown], color="#c4c4c4", label="real", **style)
        x, y = (np.array(row.pictures[name], float) for name in (requested, DARK))
        axis.scatter(x, y, color=colour(index, len(rows)), alpha=0.75, label=row.name, **style)
        axis.set_title(f"{row.name}   Spearman {row.value(MetricId(DARK, statistic='spearman')):.2f}", fontsize=9)
        axis.set_xlabel(requested + in_unit(result), fontsize=8)
        axis.set_ylim(0, top or 1)
        axis.legend(fontsize=7, frameon=False, loc="upper left")
    axes[0, 0].set_ylabel("dark fraction of the central box", fontsize=8)
    return as_svg(figure)


def neighbour_distances(result: StudyResult) -> str:
    """Cumulative distances to the nearest training picture; a curve left of the real one means copying."""
    name = "distance to nearest training picture"
    rows = [row for row in result.generated if name in row.pictures]
    if not rows or "held_out" not in result.privacy:
        return ""
    figure, axes = new_figure(5.6, 3.0)
    axis = axes[0, 0]
    curves = [(row.pictures[name], {"color": colour(i, len(rows)), "label": row.name}) for i, row in enumerate(rows)]
    held_out = {"color": _REAL, "linestyle": "--", "label": "held-out people"}
    for distances, style in [*curves, (result.privacy["held_out"], held_out)]:
        values = np.sort(np.array(distances, float))
        axis.plot(values, np.arange(1, len(values) + 1) / len(values), **style)
    axis.set_xlabel("distance to the nearest training picture (root mean square)", fontsize=9)
    axis.set_ylabel("share of pictures", fontsize=9)
    axis.legend(fontsize=8, frameon=False)
    return as_svg(figure)
