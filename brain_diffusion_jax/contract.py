"""The data contract: what the pixels and conditions of a shard set, checkpoint or sample folder mean."""

from __future__ import annotations

import json
import math
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Self, Union, get_args, get_type_hints

from brain_diffusion_jax import files
from brain_diffusion_jax.covariates import Schema
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.json_types import require_types

FILE_NAME = "contract.json"
MOST_PIXELS = 2**27  # 512 cubed
MOST_CHANNELS = 64
# Facts that may differ between data and weights that still belong together.
_NOT_COMPARED = ("package_version", "fingerprint", "counts", "source")


class ContractMismatch(InputError):
    """Two contracts that must agree differ; the message lists every differing field."""


def _plain(value: Any) -> Any:
    """Tuples as lists, so that a contract equals itself after a trip through JSON."""
    return json.loads(json.dumps(value))


def _tuples(value: Any) -> Any:
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value


@dataclass(frozen=True)
class _Section:
    """One object of the contract's JSON. A field that is None is absent; `more` keeps what no reader needs."""

    more: Mapping[str, Any] = field(default_factory=dict, kw_only=True)

    def to_json(self) -> dict[str, Any]:
        """The section as it stands in contract.json."""
        items = {name: getattr(self, name) for name in self.names()}
        return _plain({k: v for k, v in items.items() if v is not None} | dict(self.more))

    @classmethod
    def from_json(cls, items: Mapping[str, Any]) -> Self:
        """The section of JSON whose types have been checked."""
        known = {k: _tuples(v) for k, v in items.items() if k in cls.names()}
        return cls(**known, more={k: v for k, v in items.items() if k not in cls.names()})

    @classmethod
    def names(cls) -> list[str]:
        """The fields that have a meaning here."""
        return [f.name for f in fields(cls) if f.name != "more"]


@dataclass(frozen=True)
class Grid(_Section):
    """The RAS grid that slices were cut from; of volumes the grid of their own voxels.

    name: mni, box or native (each scan's own: no affine, and no shape of slices).

    shape: voxels (x, y, z). affine: 4 x 4, voxel index to mm. spacing_mm: of a native grid; () is each scan's own.
    """

    name: str | None = None
    shape: tuple[int, ...] | None = None
    affine: tuple[tuple[float, ...], ...] | None = None
    spacing_mm: tuple[float, ...] | None = None


@dataclass(frozen=True)
class SliceSet(_Section):
    """Which slices were cut. axis: axial, coronal or sagittal. unit: of `indices`, always "index".

    rule: keys of `data.prepare.slicing.Slicing`. indices, positions_mm: of a grid that all scans share.
    """

    axis: str | None = None
    unit: str | None = None
    rule: Mapping[str, Any] | str | None = None
    indices: tuple[float, ...] | None = None
    positions_mm: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Fit(_Section):
    """How slices became images of one size: keys of `data.prepare.slicing.Fit`. native_size: (rows, cols) before.

    Of volumes (rule "box"): native_size of the grid that the box of `size` voxels was cut from, `offset` its first
    voxel there; the voxels of the box were averaged to image_size (`data.prepare.volume_box.VolumeBox`).
    A set of kind "pictures" keeps here, in `more`, how its images were prepared (`picture_prep.PicturePrep`).
    """

    rule: str | None = None
    native_size: tuple[int, ...] | None = None
    size: tuple[int, ...] | None = None
    method: str | None = None
    offset: tuple[int, ...] | None = None

    def to_json(self) -> dict[str, Any]:
        """As written since 0.1: a native size that differs from scan to scan stands there as null."""
        empty = {} if self.rule is None else {"rule": self.rule, "native_size": None}
        return empty | super().to_json()


@dataclass(frozen=True)
class Intensity(_Section):
    """From a scan's unit to stored values: keys of `data.prepare.intensity.IntensityRule`; inverse: the way back."""

    rule: str | None = None
    low: float | None = None
    high: float | None = None
    dtype: str | None = None
    top: float | None = None
    inverse: str | None = None


@dataclass(frozen=True)
class Split(_Section):
    """How people were shared out: keys of `data.shards.splits.SplitSpec`; warning: of a split by slice."""

    unit: str | None = None
    seed: int | None = None
    train: float | None = None
    validation: float | None = None
    test: float | None = None
    stratify: tuple[str, ...] | None = None
    warning: str | None = None


_SECTIONS: dict[str, type[_Section]] = {
    "grid": Grid,
    "slices": SliceSet,
    "fit": Fit,
    "intensity": Intensity,
    "split": Split,
}


@dataclass(frozen=True)
class Contract:
    """Everything needed to read pixels and conditions rightly.

    kind: "slices" (2D cuts of volumes), "volumes" or "pictures" (2D without geometry).
    image_size: (rows, cols) or (x, y, z). channels: of every image, 1 unless written.
    spacing_mm: of the RAS grid the images were cut from, of volumes their own. display: how an array row and column
    lie in the head.
    """

    schema: Schema
    image_size: tuple[int, ...]
    kind: str = "slices"
    orientation: str = "RAS"
    display: str = "row 0 anterior, column 0 the person's right (radiological)"
    spacing_mm: tuple[float, ...] = ()
    grid: Grid = Grid()
    slices: SliceSet = SliceSet()
    fit: Fit = Fit()
    intensity: Intensity = Intensity()
    stored_dtype: str = "uint8"
    split: Split = Split()
    source: str = ""
    fingerprint: str = ""
    counts: Mapping[str, Any] = field(default_factory=dict)
    package_version: str = ""
    channels: int = 1
    measured: Mapping[str, Any] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, ...]:
        """(*spatial, channels) of one image."""
        return (*self.image_size, self.channels)

    @property
    def left_right_axis(self) -> int | None:
        """The axis of one image [*spatial, channels] that runs from left to right; None for sagittal slices."""
        if self.kind == "volumes":
            return 0
        return None if self.slices.axis == "sagittal" else 1

    def to_json(self) -> dict[str, Any]:
        """The contract as contract.json holds it; one channel and nothing measured are left out, as in 0.1."""
        items = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "schema"}
        items |= {name: items[name].to_json() for name in _SECTIONS}
        if self.channels == 1:
            del items["channels"]
        if not self.measured:
            del items["measured"]
        return _plain({"schema": self.schema.to_json(), **items})

    @classmethod
    def from_json(cls, items: Mapping[str, Any], where: object = "contract") -> Contract:
        """The contract of its JSON; raises InputError for the first field that its readers could not take."""
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
        for name, section in _SECTIONS.items():
            own = values.get(name, {})
            foreign = name == "fit" and values.get("kind") == "pictures"
            values[name] = Fit(more=own) if foreign else section.from_json(own)
        return cls(**values)

    def save(self, folder: str | Path) -> Path:
        """Write contract.json into `folder`; returns its path."""
        path = Path(folder) / FILE_NAME
        files.write_json(path, self.to_json())
        return path

    @classmethod
    def load(cls, folder: str | Path) -> Contract:
        """The contract of a folder; raises InputError for one that is missing or damaged."""
        path = Path(folder) / FILE_NAME
        expected = "a folder of shards, as `brain-diffusion prepare` writes it, a run or samples"
        return cls.from_json(files.read_json(path, "contract", expected=expected), path)


def _present(hint: Any) -> Any:
    """The type of an optional field where it is present."""
    return Union[tuple(part for part in get_args(hint) if part is not types.NoneType)]  # noqa: UP007


# Types of the fields, and what else the readers of a contract rely on: (field, is it so, in words).
_TYPES: dict[str, Any] = {
    **{k: v for k, v in get_type_hints(Contract).items() if k not in _SECTIONS},
    "schema": list[dict],
    **dict.fromkeys(_SECTIONS, dict[str, Any]),
}
_INNER: dict[str, dict[str, Any]] = {
    name: {key: _present(hint) for key, hint in get_type_hints(section).items() if key != "more"}
    for name, section in _SECTIONS.items()
}
_INNER["fit"] |= {"size": list[int] | None, "native_size": list[int] | None}  # null where scans differ


def _sizes(*lengths: int) -> tuple[Callable[[list[int]], bool], str]:
    return (
        lambda v: len(v) in lengths and min(v) > 0 and math.prod(v) <= MOST_PIXELS,
        f"{' or '.join(map(str, lengths))} whole numbers above 0, together at most {MOST_PIXELS} pixels",
    )


_RULES: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
    ("image_size", *_sizes(2, 3)),
    ("channels", lambda v: 0 < v <= MOST_CHANNELS, f"a whole number from 1 to {MOST_CHANNELS}"),
    ("spacing_mm", lambda v: all(0 < s < math.inf for s in v), "numbers above 0"),
    ("stored_dtype", lambda v: v in ("uint8", "float32"), "uint8 or float32"),
    ("grid.shape", *_sizes(3)),
    ("grid.affine", lambda v: len(v) == 4 and all(len(r) == 4 and math.isfinite(sum(r)) for r in v), "a 4x4 matrix"),
    ("slices.axis", lambda v: v in ("sagittal", "coronal", "axial"), "sagittal, coronal or axial"),
    ("slices.indices", lambda v: all(map(math.isfinite, v)), "finite numbers"),
    ("fit.size", *_sizes(2, 3)),
    ("fit.native_size", *_sizes(2, 3)),
    ("fit.offset", lambda v: len(v) == 3, "three whole numbers"),
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
    left, right = ({**c.to_json(), "channels": c.channels, "measured": dict(c.measured)} for c in (mine, other))
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
