"""A cohort: a table of people plus their scans, whatever the folder's layout.

Rows that cannot be used are refused or dropped as the spec says, and every dropped row or file is
returned with its reason. Files are only looked for here, never opened.
"""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from brain_diffusion_jax.covariates import Continuous, Covariate, Schema
from brain_diffusion_jax.data.sources import cohort_sessions
from brain_diffusion_jax.data.sources.cohort_files import Layout, cohort_root, files_of_row, find_layout, orphan_files
from brain_diffusion_jax.data.sources.cohort_table import (
    MISSING,
    Unusable,
    keep_row,
    merge_repeats,
    parse_value,
    with_computed,
)
from brain_diffusion_jax.data.table import Row, read_table
from brain_diffusion_jax.errors import InputError, nearest, require_one_of

# The meaning of every condition, in order, as `Schema.from_json` reads it.
COVARIATES: tuple[Mapping[str, Any], ...] = (
    {"name": "age", "unit": "years", "low": 18.0, "high": 96.0},
    {"name": "sex", "values": ("F", "M")},
    {"name": "slice", "unit": "index", "low": 0.0, "high": 90.0},
)
DEFAULT_SCHEMA = Schema.from_json(COVARIATES)
# Covariates that the pipeline itself supplies for each image.
SUPPLIED = ("slice",)


@dataclass(frozen=True)
class CohortSpec:
    """Where people and scans come from.

    layout: bids, camcan, oasis1 or table. root: the folder; table and file paths are relative to it.
    table: file name ("" = the layout's own). file_pattern: such as "{person}*_T1.nii.gz", with column
    names of the table in braces; it takes the place of the layout's own files, not that of a file column
    that columns names. columns: covariate, or person, scan, file -> column, or "A + B / C" of columns.
    sex_codes: code in the table -> category, such as {"1": "M", "2": "F"}. keep: column -> value or
    values to keep. bad_ages: what to do with a number that is missing or cannot be parsed (blank, n/a,
    89+); bad_rows: with unknown or missing categories and contradictory repeats: refuse, drop (and
    count), or absent (keep the scan, leave the covariate unknown; not for contradictions).
    """

    layout: str = "bids"
    root: str = ""
    table: str = ""
    file_pattern: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)
    sex_codes: Mapping[str, str] = field(default_factory=dict)
    keep: Mapping[str, object] = field(default_factory=dict)
    bad_ages: str = "refuse"
    bad_rows: str = "refuse"

    def __post_init__(self) -> None:
        for name in ("columns", "sex_codes"):  # a config file may write a column's name or a code as a number
            object.__setattr__(self, name, {str(k): str(v) for k, v in getattr(self, name).items()})
        for name in ("bad_ages", "bad_rows"):
            require_one_of(getattr(self, name), ("refuse", "drop", "absent"), "cohort", name)
        if not self.root:
            raise InputError("cohort", "root", "nothing", "the cohort's folder, as cohort.root=FOLDER")


class Scan(NamedTuple):
    """One scan. covariates: name -> float or category; a missing one is left out."""

    person: str
    scan: str
    path: Path
    covariates: dict[str, float | str]


@dataclass(frozen=True)
class _Table:
    """A cohort's table, opened. wanted: the covariates to read; columns: of these, of person, scan and file.

    by_session: the column that says which session a row is for, where people have a row a session; else "".
    """

    spec: CohortSpec
    layout: Layout
    header: list[str]
    rows: list[Row]
    wanted: list[Covariate]
    columns: dict[str, str]
    sessions: cohort_sessions.SessionTables
    by_session: str

    def person(self, row: Row) -> str:
        """The id of the row's person; "" where it has none."""
        return row.get(self.columns["person"])

    def name(self, row: Row) -> str:
        """The row's scan or else its person, for messages; "" where it names neither."""
        texts = (row.get(self.columns[key]) for key in ("scan", "person") if key in self.columns)
        return next((text for text in texts if text and text.lower() not in MISSING), "")


class _Entry(NamedTuple):
    """Scans that share their cells. factors: covariate -> what its number is multiplied by for the unit."""

    name: str
    row: Row
    paths: list[tuple[str, Path]]
    looked_for: str
    factors: dict[str, float]


class Cohort(NamedTuple):
    """scans, ordered by person and scan; dropped: (row or file, reason) of everything left out."""

    scans: tuple[Scan, ...]
    dropped: tuple[tuple[str, str], ...]
    table: Path = Path()

    @property
    def people(self) -> list[str]:
        """Ids of the people, in order."""
        return sorted({scan.person for scan in self.scans})


def read_cohort(spec: CohortSpec, schema: Schema | None = None) -> Cohort:
    """The scans of a cohort with the covariates of `schema` (default: age and sex), those of SUPPLIED left out.

    A scan of a session gets what `sub-X_sessions.tsv`, a column such as `age_ses-2` or a row of that
    session (`session_id`) says; numbers are read in the Units of the JSON beside a TSV. Raises InputError for a
    table, row or value that the spec does not allow; warns about ages beyond the schema's domain, one age for
    several sessions, rows without a file and files without a row.
    """
    table = _open_table(spec, schema or DEFAULT_SCHEMA)
    path, root = table.layout.table, table.layout.root
    dropped: list[tuple[str, str]] = []
    entries = _entries(table, _kept_rows(table, dropped))
    _warn_one_age(entries, table)
    scans = []
    for entry, covariates in _usable(entries, table, dropped):
        if not entry.paths:
            dropped.append((entry.name, f"no file: {entry.looked_for}"))
        person = table.person(entry.row)
        scans += [Scan(person, scan, file, dict(covariates)) for scan, file in entry.paths]
    orphans = orphan_files(table.layout, table.rows, table.columns) + _of_other_sessions(table)
    orphans = [file.relative_to(root) if file.is_relative_to(root) else file for file in orphans]
    dropped += [(str(file), "file without a row in the table") for file in orphans]
    _warn_counts(path, dropped)
    if not scans:
        reasons = Counter(reason.split(":")[0] for _, reason in dropped).most_common(4)
        raise InputError(path, "scans", f"none of {len(table.rows)} rows usable {reasons}", "at least one scan")
    for what, values in (("scan id", [s.scan for s in scans]), ("file", [str(s.path) for s in scans])):
        repeated = [value for value, count in Counter(values).items() if count > 1]
        if repeated:
            raise InputError(path, what, f"{repeated[:3]} more than once", f"each {what} for one row")
    _warn_domain(scans, table.wanted, path)
    return Cohort(tuple(sorted(scans, key=lambda s: (s.person, s.scan))), tuple(dropped), path)


def _open_table(spec: CohortSpec, schema: Schema) -> _Table:
    """Find the table and its columns. Raises InputError for columns that do not exist."""
    layout = find_layout(spec.layout, cohort_root(spec.root), spec.table, spec.file_pattern, dict(spec.columns))
    header, rows = read_table(layout.table, expected="a CSV or TSV with a header line (cohort.table=FILE)")
    header, rows = with_computed(header, rows, layout.columns.values())
    wanted = [c for c in schema.covariates if c.name not in SUPPLIED]
    names = [name for c in wanted for name in (layout.columns.get(c.name, c.name), c.name)]
    sessions = cohort_sessions.SessionTables(layout.root, layout.table, header, names)
    keys = [*(c.name for c in wanted), *(n for n in ("person", "scan", "file") if n in layout.columns)]
    columns = {key: _column(layout, header, key, sessions) for key in keys}
    if "person" not in columns:
        raise InputError(layout.table, "person", "no column named", "cohort.columns.person=COLUMN")
    for column in spec.keep:
        if column not in header:
            raise InputError(layout.table, f"cohort.keep.{column}", "no such column", nearest(column, header))
    by_session = ""
    if layout.name == "bids" and not layout.pattern and any(layout.root.glob("sub-*/ses-*")):
        by_session = next((name for name in cohort_sessions.SESSION_COLUMNS if name in header), "")
    return _Table(spec, layout, header, rows, wanted, columns, sessions, by_session)


def _column(layout: Layout, header: list[str], key: str, sessions: cohort_sessions.SessionTables) -> str:
    """The column of a covariate, or of person, scan or file."""
    column = layout.columns.get(key, key)
    if column in header:
        return column
    folded = [name for name in header if name.strip().lower() == column.lower()]
    if len(folded) == 1 and key not in layout.explicit:
        return folded[0]
    if sessions.hold((column, key)):  # it is missing in the rows of all other sessions
        return column
    expected = f"cohort.columns.{key}=COLUMN; {nearest(column, header)}"
    raise InputError(layout.table, key, f"no column {column!r}", expected)


def _kept_rows(table: _Table, dropped: list[tuple[str, str]]) -> list[Row]:
    """The rows that `keep` leaves, repeats of one id merged."""
    kept, columns = [], table.columns
    for row in table.rows:
        if not (name := table.name(row)):
            dropped.append((f"line {row.line}", "no person id"))
        elif reason := keep_row(row, table.spec.keep):
            dropped.append((name, reason))
        else:
            kept.append(row)
    key_columns = [columns[k] for k in ("person", "scan") if k in columns] + [table.by_session] * bool(table.by_session)
    compared = [columns[c.name] for c in table.wanted]
    if "file" in columns:
        compared.append(columns["file"])
    else:  # rows that name other files are no repeats
        inside = [columns.get(name, name) for name in re.findall(r"\{([^}:!]+)", table.layout.pattern)]
        key_columns = list(dict.fromkeys([*key_columns, *(name for name in inside if name in table.header)]))
    kept, contradictions = merge_repeats(kept, key_columns, compared)
    _refuse_or_drop(table, "repeated id", contradictions, "bad_rows", "rows that agree", dropped)
    return kept


def _refuse_or_drop(table: _Table, what: str, bad: list, option: str, expected: str, dropped: list) -> None:
    if bad and getattr(table.spec, option) == "refuse":
        found = "; ".join(f"{name}: {reason}" for name, reason in bad[:5]) + ("; ..." if len(bad) > 5 else "")
        expected = f"{expected}, or cohort.{option}=drop"
        raise InputError(table.layout.table, what, f"{len(bad)} bad rows ({found})", expected)
    dropped.extend(bad)


def _entries(table: _Table, kept: Sequence[Row]) -> list[_Entry]:
    """The files of every kept row, with the cells of their session in place of the row's own."""
    entries = []
    factor = cache(cohort_sessions.factor)
    rows_of = Counter(map(table.person, table.rows))
    column = {c: table.columns[c.name] for c in table.wanted}
    for row in kept:
        paths, looked_for = files_of_row(table.layout, row, table.columns)
        name = table.name(row)
        if table.by_session and rows_of[table.person(row)] > 1:
            session = cohort_sessions.label(row.get(table.by_session))
            paths = [item for item in paths if cohort_sessions.session_of(item[1]) == session]
            name = f"{name} session {session}"
        own = {c.name: factor(table.layout.table, column[c], c) or 1.0 for c in table.wanted}
        shared = _Entry(name, row, [], looked_for, own)
        for scan, path in paths:
            found = {c: cell for c in table.wanted if (cell := table.sessions.cell(path, row, (column[c], c.name)))}
            if not found:
                shared.paths.append((scan, path))
                continue
            cells = {**row.cells, **{column[c]: cell.text for c, cell in found.items()}}
            units = {c.name: factor(cell.table, cell.column, c) or own[c.name] for c, cell in found.items()}
            name_here = f"{table.name(row)} session {cohort_sessions.session_of(path)}"
            entries.append(_Entry(name_here, Row(row.line, cells), [(scan, path)], looked_for, own | units))
        if shared.paths or not paths:
            entries.append(shared)
    return entries


def _of_other_sessions(table: _Table) -> list[Path]:
    """Files of sessions without a row, of people who have a row for each session."""
    if not table.by_session:
        return []
    sessions: dict[str, set[str]] = {}
    for row in table.rows:
        sessions.setdefault(table.person(row), set()).add(cohort_sessions.label(row.get(table.by_session)))
    first = {table.person(row): row for row in table.rows if len(sessions[table.person(row)]) > 1}
    files = ((p, path) for p, row in first.items() for _, path in files_of_row(table.layout, row, table.columns).paths)
    return [path for person, path in files if cohort_sessions.session_of(path) not in sessions[person]]


def _usable(
    entries: Sequence[_Entry], table: _Table, dropped: list[tuple[str, str]]
) -> list[tuple[_Entry, dict[str, float | str]]]:
    """[(entry, covariates)]; values that cannot be used are refused, dropped or left absent."""
    usable, spec = [], table.spec
    rules = {c.name: "bad_ages" if isinstance(c, Continuous) else "bad_rows" for c in table.wanted}
    bad: dict[str, list[tuple[str, str]]] = {c.name: [] for c in table.wanted}
    for entry in entries:
        covariates: dict[str, float | str] = {}
        reasons = {}
        for covariate in table.wanted:
            name = covariate.name
            try:
                cell = entry.row.get(table.columns[name])
                value = parse_value(cell, covariate, spec.sex_codes if name == "sex" else {})
                covariates[name] = value if isinstance(value, str) else value * entry.factors[name]
            except Unusable as error:
                if getattr(spec, rules[name]) != "absent":
                    reasons[name] = f"{name}: {error}"
        for name, reason in reasons.items():
            bad[name].append((entry.name, reason))
        if not reasons:
            usable.append((entry, covariates))
    named: set[str] = set()
    for covariate in table.wanted:
        hint = ""
        if isinstance(covariate, Continuous):
            expected = f"a number in {covariate.unit}"
        else:
            expected = f"one of {', '.join(covariate.values)}"
            if covariate.name == "sex":
                hint = "; codes such as 1 and 2 need cohort.sex_codes.1=M cohort.sex_codes.2=F"
        expected += f" (column {table.columns[covariate.name]!r}{hint})"
        rows = [(name, reason) for name, reason in bad[covariate.name] if name not in named]
        _refuse_or_drop(table, covariate.name, rows, rules[covariate.name], expected, dropped)
        named |= {name for name, _ in rows}
    return usable


def _warn_counts(table: Path, dropped: list[tuple[str, str]]) -> None:
    for start, text in (("no file", "rows without a file"), ("file without a row", "files without a row")):
        names = [name for name, reason in dropped if reason.startswith(start)]
        if names:
            warnings.warn(f"{table}: found {len(names)} {text} ({_shown(names)}); left out", stacklevel=3)


def _shown(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _warn_one_age(entries: Sequence[_Entry], table: _Table) -> None:
    """Say which people have scans of several sessions that share one cell for a number such as age."""
    numbers = [c.name for c in table.wanted if isinstance(c, Continuous) and cohort_sessions.is_time(c.unit)]
    several = (e for e in entries if len({cohort_sessions.session_of(p) for _, p in e.paths}) > 1)
    shared = [table.person(e.row) for e in several]
    if shared and numbers:
        names, where = ", ".join(numbers), table.layout.table
        warnings.warn(
            f"{where}: {names}: found one for all sessions of {len(shared)} people ({_shown(shared)}), which is used; "
            f"expected one for each session, as sub-LABEL_sessions.tsv with session_id and {names} gives it",
            stacklevel=3,
        )


def _warn_domain(scans: list[Scan], wanted, table: Path) -> None:
    for covariate in (c for c in wanted if isinstance(c, Continuous)):
        values = [(scan.scan, float(scan.covariates.get(covariate.name, covariate.low))) for scan in scans]
        outside = [(name, value) for name, value in values if not covariate.low <= value <= covariate.high]
        if outside:
            shown = ", ".join(f"{name} {value:g}" for name, value in outside[:3])
            warnings.warn(
                f"{table}: {covariate.name}: found {len(outside)} scans outside the schema's domain ({shown}); "
                f"expected {covariate.low:g} to {covariate.high:g} {covariate.unit}; widen the domain or drop them",
                stacklevel=3,
            )
