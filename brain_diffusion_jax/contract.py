"""The data contract: what the pixels and conditions of a shard set, checkpoint or sample folder mean."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from brain_diffusion_jax import files
from brain_diffusion_jax.covariates import Schema
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.json_types import require_types

FILE_NAME = "contract.json"
MOST_PIXELS = 2**27  # 512 cubed
# Facts that may differ between data and weights that still belong together.
_NOT_COMPARED = ("package_version", "fingerprint", "counts", "source")


class ContractMismatch(InputError):
    """Two contracts that must agree differ; the message lists every differing field."""


def _plain(value: Any) -> Any:
    """Tuples as lists, so that a contract equals itself after a trip through JSON."""
    return json.loads(json.dumps(value))


@dataclass(frozen=True)
class Contract:
    """Everything needed to read pixels and conditions rightly.

    kind: "slices" (2D cuts of volumes), "volumes" or "pictures" (2D without geometry).
    image_size: (rows, cols) or (x, y, z). value_range: what stored 0 and full scale mean in the
    scan's own unit, after `intensity`. spacing_mm, affine: of the RAS grid the slices were cut from.
    slices: {"axis", "indices", "unit"} and fit: {"rule", "native_size"} as `data.prepare.slicing` defines.
    display: how an array row and column lie in the head.
    """

    schema: Schema
    image_size: tuple[int, ...]
    kind: str = "slices"
    orientation: str = "RAS"
    display: str = "row 0 anterior, column 0 the person's right (radiological)"
    spacing_mm: tuple[float, ...] = ()
    grid: Mapping[str, Any] = field(default_factory=dict)
    slices: Mapping[str, Any] = field(default_factory=dict)
    fit: Mapping[str, Any] = field(default_factory=dict)
    intensity: Mapping[str, Any] = field(default_factory=dict)
    stored_dtype: str = "uint8"
    split: Mapping[str, Any] = field(default_factory=dict)
    source: str = ""
    fingerprint: str = ""
    counts: Mapping[str, Any] = field(default_factory=dict)
    package_version: str = ""

    def to_json(self) -> dict[str, Any]:
        items = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "schema"}
        return _plain({"schema": self.schema.to_json(), **items})

    @classmethod
    def from_json(cls, items: Mapping[str, Any], where: object = "contract") -> Contract:
        known = {f.name for f in fields(cls)}
        unknown, missing = set(items) - known, {"schema", "image_size"} - set(items)
        if unknown or missing:
            raise InputError(where, "fields", f"unknown {sorted(unknown)}, missing {sorted(missing)}", sorted(known))
        values = dict(items)
        _check(values, where)
        try:
            values["schema"] = Schema.from_json(values["schema"])
        except InputError as error:
            raise InputError(where, f"schema: {error.field}", error.found, error.expected) from None
        for name in ("image_size", "spacing_mm"):
            values[name] = tuple(values.get(name, ()))
        return cls(**values)

    def save(self, folder: str | Path) -> Path:
        path = Path(folder) / FILE_NAME
        files.write_json(path, self.to_json())
        return path

    @classmethod
    def load(cls, folder: str | Path) -> Contract:
        path = Path(folder) / FILE_NAME
        return cls.from_json(files.read_json(path, "contract"), path)


# Types of the fields, and what else the readers of a contract rely on: (field, is it so, in words).
_TYPES: dict[str, Any] = {
    "schema": list[dict],
    "image_size": list[int],
    "spacing_mm": list[float],
    **dict.fromkeys(("kind", "orientation", "display", "stored_dtype", "source", "fingerprint"), str),
    "package_version": str,
    **dict.fromkeys(("grid", "slices", "fit", "intensity", "split", "counts"), dict[str, Any]),
}
_INNER: dict[str, dict[str, Any]] = {
    "grid": {"name": str, "shape": list[int], "affine": list[list[float]]},
    "slices": {"axis": str, "indices": list[float], "rule": dict[str, Any] | str},
    "fit": {"rule": str, "method": str, "size": list[int] | None, "native_size": list[int] | None},
    "intensity": {"rule": str, "low": float, "high": float},
}


def _sizes(*lengths: int) -> tuple[Callable[[list[int]], bool], str]:
    return (
        lambda v: len(v) in lengths and min(v) > 0 and math.prod(v) <= MOST_PIXELS,
        f"{' or '.join(map(str, lengths))} whole numbers above 0, together at most {MOST_PIXELS} pixels",
    )


_RULES: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
    ("image_size", *_sizes(2, 3)),
    ("spacing_mm", lambda v: all(0 < s < math.inf for s in v), "numbers above 0"),
    ("stored_dtype", lambda v: v in ("uint8", "float32"), "uint8 or float32"),
    ("grid.shape", *_sizes(3)),
    ("grid.affine", lambda v: len(v) == 4 and all(len(r) == 4 and math.isfinite(sum(r)) for r in v), "a 4x4 matrix"),
    ("slices.axis", lambda v: v in ("sagittal", "coronal", "axial"), "sagittal, coronal or axial"),
    ("slices.indices", lambda v: all(map(math.isfinite, v)), "finite numbers"),
    ("fit.size", *_sizes(2)),
    ("fit.native_size", *_sizes(2)),
    ("intensity.low", math.isfinite, "a finite number"),
    ("intensity.high", math.isfinite, "a finite number"),
)


def _check(items: Mapping[str, Any], where: object) -> None:
    """Raise InputError for the first field that is of another type than its readers can take."""
    require_types(items, _TYPES, where)
    if items.get("kind") == "pictures":  # their fit is `picture_prep`'s, and nobody inverts it
        items = {**items, "fit": {}}
    for name, inner in _INNER.items():
        require_types(items.get(name, {}), inner, where, f"{name}.")
    for path, right, expected in _RULES:
        name, _, key = path.partition(".")
        value = items.get(name, {}).get(key) if key else items.get(name)
        if value is not None and not right(value):
            raise InputError(where, path, str(value)[:80], expected)
    fixed = items.get("intensity", {}).get("rule") == "fixed"
    for name, key, needed in (
        ("grid", "shape", ("affine",)),
        ("slices", "indices", ("axis",)),
        ("intensity", "rule", ("low", "high") if fixed else ()),
    ):
        section = items.get(name, {})
        missing = [n for n in needed if key in section and section.get(n) is None]
        if missing:
            raise InputError(where, name, f"{key} without {', '.join(missing)}", "both")


def differences(mine: Contract, other: Contract, ignore: tuple[str, ...] = ()) -> list[str]:
    """One line for each field that differs, both values in it."""
    left, right = mine.to_json(), other.to_json()
    skip = set(_NOT_COMPARED) | set(ignore)
    return [f"{k}: {left[k]!r} against {right[k]!r}" for k in left if k not in skip and left[k] != right[k]]


def require_same(
    mine: Contract, other: Contract, where: object, *, same_data: bool = False, ignore: tuple[str, ...] = ()
) -> None:
    """Raise ContractMismatch unless both agree; `same_data` also compares the data fingerprint."""
    lines = differences(mine, other, ignore)
    if same_data and mine.fingerprint != other.fingerprint:
        lines.append(f"fingerprint: {mine.fingerprint!r} against {other.fingerprint!r}")
    if lines:
        raise ContractMismatch(where, "contract", "; ".join(lines), "the same contract on both sides")
