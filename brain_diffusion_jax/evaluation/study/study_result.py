"""The outcome of a study: rows of numbers with intervals, values of each image, and how it was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from html import escape
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np

from brain_diffusion_jax import files
from brain_diffusion_jax.data.table import table_text
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation import rich
from brain_diffusion_jax.evaluation.metrics.metric_id import NUMERIC, SECOND, SSIM, MetricId
from brain_diffusion_jax.json_types import require_types

FILE_NAME = "study.json"


@dataclass
class Row:
    """One line of the tables. scale is None for real images; numbers: metric -> {value, low, high}; pictures: values
    of each image by name (the names of fields are keys of study.json)."""

    name: str
    scale: float | None
    num_pictures: int
    num_people: int
    numbers: dict[str, dict[str, Any]] = field(default_factory=dict)
    pictures: dict[str, list[float]] = field(default_factory=dict, repr=False)

    def value(self, metric: MetricId | str) -> float:
        """The number, or NaN where it was not measured."""
        value = self.number(metric).get("value")
        return float("nan") if value is None else float(value)

    def number(self, metric: MetricId | str) -> dict[str, Any]:
        """The number with its interval; {} where it was not measured."""
        return self.numbers.get(str(metric), {})

    def has(self, metric: MetricId | str) -> bool:
        """Whether it was measured."""
        return str(metric) in self.numbers


def metrics_of(rows: Sequence[Row]) -> list[MetricId]:
    """All that was measured of any row, in order of appearance."""
    return [MetricId.parse(key) for key in dict.fromkeys(key for row in rows for key in row.numbers)]


@dataclass
class StudyResult:
    """method: versions, seeds, extractors, contract; notes: what a reader must know; privacy: local only.

    extrapolation: by covariate, as `extrapolation.answers` has it.
    """

    title: str
    method: dict[str, Any]
    rows: list[Row]
    notes: list[str] = field(default_factory=list)
    anatomy: dict[str, Any] = field(default_factory=dict)
    privacy: dict[str, Any] = field(default_factory=dict)
    utility: list[dict[str, Any]] = field(default_factory=list)
    reference: bool = False
    extrapolation: dict[str, Any] = field(default_factory=dict)

    @property
    def generated(self) -> list[Row]:
        return [row for row in self.rows if row.scale is not None]

    @property
    def real(self) -> Row:
        return next(row for row in self.rows if row.scale is None)

    def row(self, scale: float) -> Row:
        for row in self.generated:
            if row.scale == scale:
                return row
        raise InputError(self.title, "guidance scale", scale, [row.scale for row in self.generated])

    @property
    def target(self) -> str:
        """The covariate that predictors read; "" without one. Release 0.1 did not name it: it read it first."""
        if "target" in self.method:
            return str(self.method["target"])
        return next((m.covariate for m in metrics_of(self.rows) if m.statistic in NUMERIC), "")

    @property
    def unit(self) -> str:
        """Of the target, as the contract says it; "" where none does."""
        schema = (self.method.get("contract") or {}).get("schema", [])
        own = (c for c in schema if isinstance(c, Mapping) and c.get("name") == self.target)
        return str(next(own, {}).get("unit", ""))

    @property
    def reading(self) -> MetricId:
        """The target as its predictor read it, or the second probe where there was no predictor."""
        first = MetricId(covariate=self.target)
        return first if any(row.has(first.of("mae")) for row in self.rows) else replace(first, reader=SECOND)

    def _repr_html_(self) -> str:
        main = (MetricId(SSIM), self.reading.of("mae"), self.reading.of("r"))
        metrics = [m for m in metrics_of(self.rows) if m.group == "FD" or m in main]
        lines = [[row.name, *(_short(row.number(m)) for m in metrics)] for row in self.rows]
        notes = "".join(f"<p>{escape(note)}</p>" for note in self.notes)
        return rich.table_html(["", *metrics], lines, self.title) + notes

    def show(self) -> None:
        """Display the main numbers in a notebook; elsewhere print them all."""
        rich.show(self)

    def to_json(self) -> dict[str, Any]:
        rows = [vars(row) for row in self.rows]
        return _plain({**vars(self), "rows": rows})

    def save(self, folder: str | Path) -> Path:
        """Write study.json, metrics.csv and pictures.csv into `folder`."""
        folder = Path(folder)
        files.write_text(folder / "metrics.csv", metrics_csv(self.rows))
        files.write_text(folder / "pictures.csv", pictures_csv(self.rows))
        files.write_json(folder / FILE_NAME, self.to_json(), indent=1)
        return folder / FILE_NAME

    @classmethod
    def from_json(cls, items: Mapping[str, Any]) -> StudyResult:
        return cls(**{**items, "rows": [Row(**row) for row in items["rows"]]})

    @classmethod
    def load(cls, folder: str | Path) -> StudyResult:
        path = Path(folder) if str(folder).endswith(".json") else Path(folder) / FILE_NAME
        if not path.exists() and (path.parent / "study" / FILE_NAME).exists():
            path = path.parent / "study" / FILE_NAME
        items = files.read_json(path, "study", expected="a folder written by `brain-diffusion study`")
        _require(items, _STUDY, StudyResult, path)
        for row in items["rows"]:
            _require(row, _ROW, Row, path, f"rows, {row.get('name')!r}: ")
            for metric, number in row.get("numbers", {}).items():
                require_types(number, _NUMBER, path, f"rows, {row['name']!r}: {metric}: ")
        require_types(items["method"], _METHOD, path, "method.")
        require_types(
            items["method"].get("contract") or {},
            {"split": dict[str, Any], "schema": list[dict[str, Any]]},
            path,
            "method.contract.",
        )
        return cls.from_json(items)


_STUDY: dict[str, Any] = {**get_type_hints(StudyResult), "rows": list[dict[str, Any]]}
_ROW: dict[str, Any] = {**get_type_hints(Row), "pictures": dict[str, list[float | str | None]]}
_NUMBER: dict[str, Any] = dict.fromkeys(("value", "low", "high"), float | None)
_METHOD: dict[str, Any] = {
    "contract": dict[str, Any] | None,
    "extractors": dict[str, str],
    "sampling": dict[str, Any],
    "target": str,
    "versions": dict[str, Any],
    "num_pictures": int | str | None,
}


def _short(number: Mapping[str, Any]) -> str:
    """0.512 [0.49, 0.53] of a number with its interval; "" of none."""
    value, low, high = (number.get(name) for name in ("value", "low", "high"))
    if value is None:
        return ""
    return f"{value:.3g}" if low is None or high is None else f"{value:.3g} [{low:.3g}, {high:.3g}]"


def _require(items: Mapping[str, Any], types: Mapping[str, Any], kind: type, where: object, prefix: str = "") -> None:
    """Raise InputError unless `items` are the fields of the dataclass `kind`, in their types."""
    required = {f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING}
    unknown, missing = set(items) - set(types), required - set(items)
    if unknown or missing:
        raise InputError(
            where, f"{prefix}fields", f"unknown {sorted(unknown)}, missing {sorted(missing)}", sorted(types)
        )
    require_types(items, types, where, prefix)


def _plain(value: Any) -> Any:
    """JSON values only: arrays as lists, NaN and Inf as null."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, str | bool) or value is None:
        return value
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, Sequence):
        return [_plain(v) for v in value]
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) else None
    return str(value)


def metrics_csv(rows: Sequence[Row]) -> str:
    """One line for each row and metric: row, scale, images, people, metric, value, low, high."""
    lines: list[list[Any]] = [["row", "guidance_scale", "num_pictures", "num_people", "metric", "value", "low", "high"]]
    for row in rows:
        scale = "" if row.scale is None else f"{row.scale:g}"
        for metric, number in row.numbers.items():
            cells = ["" if number.get(k) is None else repr(number[k]) for k in ("value", "low", "high")]
            lines.append([row.name, scale, row.num_pictures, row.num_people, metric, *cells])
    return table_text(lines)


def pictures_csv(rows: Sequence[Row]) -> str:
    """One line for each image with all of its values; no person's id."""
    names = list(dict.fromkeys(name for row in rows for name in row.pictures))
    lines: list[list[Any]] = [["row", "guidance_scale", "picture", *names]]
    for row in rows:
        scale = "" if row.scale is None else f"{row.scale:g}"
        for index in range(row.num_pictures):
            values = [row.pictures[name][index] if name in row.pictures else None for name in names]
            lines.append([row.name, scale, index, *values])
    return table_text(lines)
