"""What tables say about one session of a person, and in which unit (BIDS: `_sessions.tsv`, JSON side-cars)."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from brain_diffusion_jax import files
from brain_diffusion_jax.covariates import Covariate
from brain_diffusion_jax.data.sources.cohort_table import MISSING, merge_repeats
from brain_diffusion_jax.data.table import Row, read_table
from brain_diffusion_jax.errors import InputError

SESSION_COLUMNS = ("session_id", "session")
# First letter of a unit of time -> years; the pattern finds words such as "months", "yrs" or "d".
_YEARS = {"y": 1.0, "m": 1 / 12, "w": 7 / 365.25, "d": 1 / 365.25}
_TIME = re.compile(r"(?<![a-z])(?:y(?:(?:ea)?rs?)?|m(?:o(?:nth)?s?)?|w(?:(?:ee)?ks?)?|d(?:ays?)?)(?![a-z])")


class Cell(NamedTuple):
    """text: what a table says of one session; table, column: where it stands."""

    text: str
    table: Path
    column: str


class _Table(NamedTuple):
    path: Path
    header: list[str]
    rows: dict[str, Row]  # by session


def label(text: str) -> str:
    """A session's name without `ses-` and leading zeros, lower case."""
    bare = text.strip().casefold().removeprefix("ses-")
    return bare.lstrip("0") or bare[-1:]


def session_of(path: Path) -> str:
    """The label of the session that a scan's name or folders state; "" where they state none."""
    for part in path.parts[::-1]:
        if found := re.search(r"(?:^|_)ses-([A-Za-z0-9]+)(?=[_.]|$)", part):
            return label(found[1])
    return ""


class SessionTables:
    """What stands of each session: in the session tables below a cohort's folder, or in columns such as age_ses-2.

    names: those of the covariates and of their columns; session tables without any of them are left aside.
    """

    def __init__(self, root: Path, table: Path, header: Sequence[str], names: Sequence[str]) -> None:
        self.table, self.header = table, header
        paths = [p for p in sorted(root.glob("sub-*/sub-*_sessions.tsv")) if p.name.startswith(f"{p.parent.name}_")]
        found = {path.parent.name: _read(path, names) for path in paths}
        self.tables = {person: table for person, table in found.items() if table is not None}

    def hold(self, names: Sequence[str]) -> bool:
        """Whether a covariate, by one of its names, is given for any session."""
        return any(_column(table.header, names) for table in self.tables.values()) or any(
            _session_of_column(column, name) for column in self.header for name in names
        )

    def cell(self, path: Path, row: Row, names: Sequence[str]) -> Cell | None:
        """The cell for the session of the scan `path`, None without one; names: of the covariate and its column.

        The text is empty where the person's session table tells of other sessions only.
        """
        session = session_of(path)
        if not session:
            return None
        table = next((self.tables[p.name] for p in path.parents if p.name in self.tables), None)
        if table is not None and (column := _column(table.header, names)):
            found = table.rows.get(session)
            return Cell(found.get(column) if found else "", table.path, column)
        columns = (c for c in self.header if any(_session_of_column(c, name) == session for name in names))
        return next((Cell(row.get(column), self.table, column) for column in columns), None)


def _read(path: Path, names: Sequence[str]) -> _Table | None:
    header, rows = read_table(path)
    columns = [column for column in header if _column([column], names)]
    if not columns:
        return None
    column = next((name for name in SESSION_COLUMNS if name in header), None)
    if column is None:
        raise InputError(path, "session_id", "no such column", "the session of each row, such as ses-01")
    rows = [Row(row.line, {**row.cells, column: label(row.get(column))}) for row in rows]
    merged, bad = merge_repeats(rows, [column], columns)
    if bad:
        raise InputError(path, f"session {bad[0][0]}", bad[0][1], "one row for each session")
    return _Table(path, header, {row.get(column): row for row in merged})


def _column(header: Sequence[str], names: Sequence[str]) -> str:
    wanted = [name.casefold() for name in names]
    return next((column for column in header if column.casefold() in wanted), "")


def _session_of_column(column: str, name: str) -> str:
    """The session that a column such as `age_ses-2` or `ses2_age` is for; "" of any other column."""
    word, name = r"ses(?:sion)?[\W_]*([a-z0-9]+?)", re.escape(name)
    found = re.fullmatch(rf"{name}[\W_]*{word}|{word}[\W_]+{name}", column, re.IGNORECASE)
    return label(found[1] or found[2]) if found else ""


def factor(table: Path, column: str, covariate: Covariate) -> float | None:
    """What numbers of a column are multiplied by to be in the covariate's unit, by the JSON beside a TSV.

    None where nothing is said. Raises InputError for a unit of time that is not understood; warns where another
    unit is said than the covariate's.
    """
    wanted = str(getattr(covariate, "unit", ""))
    beside = [table.with_suffix(".json")] if table.suffix.lower() == ".tsv" else []
    if table.name.endswith("_sessions.tsv"):
        beside.append(table.parent.parent / "sessions.json")
    for path in (path for path in beside if wanted and path.is_file()):
        about: Any = files.read_json(path, "side-car", expected="the JSON that describes a BIDS table").get(column)
        said = str(about.get("Units") or "").strip() if isinstance(about, dict) else ""
        if said.casefold() in MISSING:
            continue
        if said.casefold() == wanted.casefold():
            return 1.0
        if not is_time(wanted):
            found = f"{path}: {column}.Units: found {said!r}; expected {wanted}; the numbers are taken as they are"
            warnings.warn(found, stacklevel=2)
            return 1.0
        if len(units := _units(said)) != 1:
            raise InputError(path, f"{column}.Units", repr(said), "years, months, weeks or days")
        return _YEARS[units.pop()] / _YEARS[_units(wanted).pop()]
    return None


def is_time(unit: str) -> bool:
    """Whether a covariate's unit is a time; a single letter is not (m is a metre)."""
    return len(unit) > 1 and len(_units(unit)) == 1


def _units(text: str) -> set[str]:
    """First letters of the units of time in a text."""
    return {word[0] for word in _TIME.findall(text.casefold())}
