"""Folder layouts: which table describes a cohort, and which files belong to a row of it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from brain_diffusion_jax.data.cohort_table import Row
from brain_diffusion_jax.errors import InputError, nearest

LAYOUTS = ("bids", "camcan", "oasis1", "table")
_BIDS_GLOBS = ("anat/*_T1w.nii.gz", "anat/*_T1w.nii", "ses-*/anat/*_T1w.nii.gz", "ses-*/anat/*_T1w.nii")


@dataclass(frozen=True)
class Layout:
    """columns: person, scan, file and covariates -> column; explicit: those the user named."""

    name: str
    root: Path
    table: Path
    pattern: str
    columns: Mapping[str, str]
    explicit: frozenset[str] = field(default_factory=frozenset)


class Found(NamedTuple):
    """paths: (scan id, file) of one row; looked_for: for the message when there is none."""

    paths: list[tuple[str, Path]]
    looked_for: str


def find_layout(name: str, root: Path, table: str, pattern: str, columns: dict[str, str]) -> Layout:
    """The layout `name` below `root`; the user's table, pattern and columns win over its own."""
    if name not in LAYOUTS:
        raise InputError("cohort", "layout", name, nearest(name, LAYOUTS))
    own: dict[str, str] = {}
    if name == "bids":
        own, default_table = {"person": "participant_id"}, "participants.tsv"
    elif name == "camcan":
        own, default_table = {"person": "Subject", "age": "Age", "sex": "Sex"}, ""
        pattern = pattern or "sub-{Subject}_defaced_T1.nii.gz"
    elif name == "oasis1":
        own = {"person": "subject_id", "scan": "session_id", "file": "file"}
        default_table = "participants.csv"
    else:
        default_table = ""
        if not pattern and "file" not in columns:
            raise InputError(
                "cohort", "file_pattern", "nothing", "cohort.file_pattern=PATTERN or cohort.columns.file=COLUMN"
            )
    return Layout(name, root, _table_path(root, table or default_table), pattern, own | columns, frozenset(columns))


def _table_path(root: Path, table: str) -> Path:
    if table:
        beside = root / table  # an absolute table stays as it is
        return beside if beside.exists() or not Path(table).exists() else Path(table)
    found = sorted(p for p in root.iterdir() if p.suffix.lower() in (".csv", ".tsv"))
    if len(found) != 1:
        names = [p.name for p in found] or "no .csv or .tsv"
        raise InputError(root, "table", names, "one table, or cohort.table=FILE")
    return found[0]


def _stem(path: Path) -> str:
    return re.sub(r"\.nii(\.gz)?$", "", path.name)


def _scan_id(root: Path, path: Path) -> str:
    """The path below the root in one word, since one/T1.nii.gz and two/T1.nii.gz are two scans."""
    inside = path.relative_to(root) if path.is_relative_to(root) else path
    return "_".join([*(part for part in inside.parts[:-1] if part not in ("/", "..")), _stem(path)])


def _bids_files(root: Path, person: str) -> list[tuple[str, Path]]:
    label = person if person.startswith("sub-") else f"sub-{person}"
    paths = sorted(path for pattern in _BIDS_GLOBS for path in (root / label).glob(pattern))
    return [(_stem(path).removesuffix("_T1w"), path) for path in paths]


def _escape(text: str) -> str:
    return re.sub(r"([*?\[])", r"[\1]", text)


def files_of_row(layout: Layout, row: Row, columns: Mapping[str, str]) -> Found:
    """Every file of a row that exists; several files of one row are repeat scans of the person."""
    person = row.get(columns["person"])
    if layout.name == "bids":
        label = person if person.startswith("sub-") else f"sub-{person}"
        return Found(_bids_files(layout.root, person), f"{label}/[ses-*/]anat/*_T1w.nii[.gz]")
    if "file" in columns:
        text = row.get(columns["file"])
        path = layout.root / text
        scan = row.get(columns["scan"]) if "scan" in columns else _scan_id(layout.root, path)
        return Found([(scan, path)] if text and path.is_file() else [], text or "blank file column")
    aliases = {name: row.get(column) for name, column in columns.items()}
    try:
        pattern = layout.pattern.format_map({k: _escape(v) for k, v in ({**row.cells, **aliases}).items()})
    except (KeyError, ValueError, IndexError) as error:
        raise InputError(
            "cohort", "file_pattern", layout.pattern, f"columns of the table in braces ({error})"
        ) from None
    paths = sorted(path for path in layout.root.glob(pattern) if path.is_file())
    if len(paths) == 1:
        scan = row.get(columns["scan"]) if "scan" in columns else _scan_id(layout.root, paths[0])
        return Found([(scan, paths[0])], pattern)
    return Found([(_scan_id(layout.root, path), path) for path in paths], pattern)


def orphan_files(layout: Layout, rows: Sequence[Row], columns: Mapping[str, str]) -> list[Path]:
    """Scans in the folder that no row of the table, kept or not, points to."""
    known = {path for row in rows if row.get(columns["person"]) for _, path in files_of_row(layout, row, columns).paths}
    if layout.name == "bids":
        candidates = {path for pattern in _BIDS_GLOBS for path in layout.root.glob(f"sub-*/{pattern}")}
    elif "file" in columns:
        folders = {path.parent for path in known}
        candidates = {p for folder in folders for p in folder.glob("*.nii*") if p.name.endswith((".nii", ".nii.gz"))}
    else:
        wild = re.sub(r"\{[^}]*\}", "*", layout.pattern).split("/")
        # "{id}*" became "**", which inside a name is no pattern.
        names = [part if part == "**" else re.sub(r"\*+", "*", part) for part in wild]
        candidates = set(layout.root.glob("/".join(names)))
    return sorted(candidates - known)
