"""The data contract: what the pixels and conditions of a shard set, checkpoint or sample folder mean."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from brain_diffusion_jax import files
from brain_diffusion_jax.covariates import Schema
from brain_diffusion_jax.errors import InputError

FILE_NAME = "contract.json"
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
    slices: {"axis", "indices", "unit"} and fit: {"rule", "native_size"} as `data.slicing` defines.
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
        values["schema"] = Schema.from_json(values["schema"])
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
