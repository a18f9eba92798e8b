"""Folder layouts: which table describes a cohort, and which files belong to a row of it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from brain_diffusion_jax.data.prepare.nifti_file import is_scan_name, stem
from brain_diffusion_jax.data.table import Row
from brain_diffusion_jax.errors import InputError, require_one_of

_BIDS_FOLDERS = ("anat", "ses-*/anat")


class _Usual(NamedTuple):
    """What a layout has unless the user says otherwise."""

    columns: Mapping[str, str]
    table: str = ""
    pattern: str = ""


LAYOUTS = {
    "bids": _Usual({"person": "participant_id"}, "participants.tsv"),
    "camcan": _Usual({"person": "Subject", "age": "Age", "sex": "Sex"}, pattern="sub-{Subject}_defaced_T1.nii.gz"),
    "oasis1": _Usual({"person": "subject_id", "scan": "session_id", "file": "file"}, "participants.csv"),
    "table": _Usual({}),
}


@dataclass(frozen=True)
class Layout:
    """columns: person, scan, file and covariates -> column; explicit: those the user named.

    Files are found by `pattern` if there is one, else by the column "file", else as the layout says.
    """

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


def cohort_root(text: str) -> Path:
    """The cohort's folder, with ~ as the home folder; raises InputError where there is none."""
    root = _expanded(text, "root")
    if not root.is_dir():
        raise InputError("cohort", "root", f"{root}: no such folder", "the cohort's folder")
    return root


def _expanded(text: str, field: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError as error:  # an unknown user, or nobody's home
        raise InputError("cohort", field, text, f"a path ({error})") from None


def find_layout(name: str, root: Path, table: str, pattern: str, columns: dict[str, str]) -> Layout:
    """The layout `name` below `root`; the user's table, pattern and columns win over its own."""
    require_one_of(name, LAYOUTS, "cohort", "layout")
    if pattern and "file" in columns:
        found = pattern, columns["file"]
        raise InputError("cohort", "file_pattern, columns.file", found, "one of the two: both say which files")
    usual = LAYOUTS[name]
    own = {k: v for k, v in usual.columns.items() if not (pattern and k == "file")} | columns
    pattern = pattern or ("" if "file" in columns else usual.pattern)
    if name == "table" and not pattern and "file" not in columns:
        expected = "cohort.file_pattern=PATTERN or cohort.columns.file=COLUMN"
        raise InputError("cohort", "file_pattern", "nothing", expected)
    pattern = str(_expanded(pattern, "file_pattern")) if pattern.startswith("~") else pattern
    return Layout(name, root, _table_path(root, table or usual.table), pattern, own, frozenset(columns))


def _table_path(root: Path, table: str) -> Path:
    if table:
        beside = root / _expanded(table, "table")  # an absolute table stays as it is
        return beside if beside.exists() or not Path(table).exists() else Path(table)
    found = sorted(p for p in root.iterdir() if p.suffix.lower() in (".csv", ".tsv"))
    if len(found) != 1:
        names = [p.name for p in found] or "no .csv or .tsv"
        raise InputError(root, "table", names, "one table, or cohort.table=FILE")
    return found[0]


def _scan_id(root: Path, path: Path) -> str:
    """The path below the root in one word, since one/T1.nii.gz and two/T1.nii.gz are two scans."""
    inside = path.relative_to(root) if path.is_relative_to(root) else path
    return "_".join([*(part for part in inside.parts[:-1] if part not in ("/", "..")), stem(path)])


def _is_scan(path: Path) -> bool:
    """A file, or a link to nothing, which reading refuses by name; no metadata of macOS."""
    return not path.name.startswith("._") and (path.is_file() or (path.is_symlink() and not path.exists()))


def _bids_files(root: Path, people: str) -> list[Path]:
    folders = [folder for pattern in _BIDS_FOLDERS for folder in root.glob(f"{people}/{pattern}")]
    paths = (path for folder in folders for path in folder.glob("*"))
    return sorted(path for path in paths if re.search(r"_T1w\.nii(\.gz)?$", path.name, re.I) and _is_scan(path))


def _label(person: str) -> str:
    return person if person.startswith("sub-") else f"sub-{person}"


def _bids_scan(layout: Layout, person: str, path: Path) -> str:
    """The name of a BIDS file without its suffix, which is unique; other names with their folders."""
    if layout.pattern and not path.name.startswith(_label(person)):
        return _scan_id(layout.root, path)
    return re.sub(r"_T1w$", "", stem(path), flags=re.I)


def _escape(text: str) -> str:
    return re.sub(r"([*?\[])", r"[\1]", text)


def _glob(root: Path, pattern: str) -> list[Path]:
    """Scans that match `pattern` below `root`, or anywhere if it is absolute."""
    if Path(pattern).is_absolute():
        root, pattern = Path(Path(pattern).anchor), str(Path(pattern).relative_to(Path(pattern).anchor))
    # "**" inside a name is no pattern of pathlib; it comes of "{id}**" and of a "{id}*" without its id.
    parts = [p if p == "**" else re.sub(r"\*+", "*", p) for p in pattern.split("/") if p not in ("", ".")]
    if not parts:
        return []
    *folders, name = parts
    if re.search(r"[*?\[]", name):
        return sorted(path for path in root.glob("/".join(parts)) if _is_scan(path))
    # Joined, since glob passes over a link to nothing of that name.
    above = root.glob("/".join(folders)) if folders else [root]
    return sorted(folder / name for folder in above if _is_scan(folder / name))


def _filled(layout: Layout, row: Row, columns: Mapping[str, str]) -> str:
    """The pattern with the row's cells in it; "" where a blank cell leaves a folder or file without a name."""
    aliases = {name: row.get(column) for name, column in columns.items()}
    cells = {name: _escape(text) for name, text in ({**row.cells, **aliases}).items()}
    try:
        whole = layout.pattern.format_map(cells)
        parts = [part.format_map(cells) for part in layout.pattern.split("/") if part]
    except (KeyError, ValueError, IndexError) as error:
        expected = f"columns of the table in braces ({error})"
        raise InputError("cohort", "file_pattern", layout.pattern, expected) from None
    return whole if all(part.strip() for part in parts) else ""


def files_of_row(layout: Layout, row: Row, columns: Mapping[str, str]) -> Found:
    """Every file of a row that exists; several files of one row are repeat scans of the person."""
    person = row.get(columns["person"])
    if "file" in columns:
        text = row.get(columns["file"])
        path = layout.root / text
        scan = row.get(columns["scan"]) if "scan" in columns else _scan_id(layout.root, path)
        return Found([(scan, path)] if text and _is_scan(path) else [], text or "blank file column")
    if layout.pattern:
        pattern = _filled(layout, row, columns)
        paths, looked_for = _glob(layout.root, pattern) if pattern else [], pattern or f"blank in {layout.pattern}"
    else:
        paths = _bids_files(layout.root, _escape(_label(person)))
        looked_for = f"{_label(person)}/[ses-*/]anat/*_T1w.nii[.gz]"
    if layout.name == "bids":
        return Found([(_bids_scan(layout, person, path), path) for path in paths], looked_for)
    if len(paths) == 1 and "scan" in columns:
        return Found([(row.get(columns["scan"]), paths[0])], looked_for)
    return Found([(_scan_id(layout.root, path), path) for path in paths], looked_for)


def orphan_files(layout: Layout, rows: Sequence[Row], columns: Mapping[str, str]) -> list[Path]:
    """Scans in the folder that no row of the table, kept or not, points to."""
    known = {path for row in rows if row.get(columns["person"]) for _, path in files_of_row(layout, row, columns).paths}
    if "file" in columns:
        folders = {path.parent for path in known}
        candidates = {path for folder in folders for path in folder.glob("*") if is_scan_name(path)}
    elif layout.pattern:
        candidates = set(_glob(layout.root, re.sub(r"\{[^}]*\}", "*", layout.pattern)))
    else:
        candidates = set(_bids_files(layout.root, "sub-*"))
    return sorted(candidates - known)
