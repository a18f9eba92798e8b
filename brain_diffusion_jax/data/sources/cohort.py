"""A cohort: a table of people plus their scans, whatever the folder's layout.

Rows that cannot be used are refused or dropped as the spec says, and every dropped row or file is
returned with its reason. Files are only looked for here, never opened.
"""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from brain_diffusion_jax.covariates import Continuous, Covariate, Schema
from brain_diffusion_jax.data.sources import cohort_sessions
from brain_diffusion_jax.data.sources.cohort_files import Layout, cohort_root, files_of_row, find_layout, orphan_files
from brain_diffusion_jax.data.sources.cohort_table import MISSING, Unusable, keep_row, merge_repeats, parse_value
from brain_diffusion_jax.data.table import Row, read_table
from brain_diffusion_jax.errors import InputError, nearest

# The meaning of every condition, in order, as `Schema.from_json` reads it.
COVARIATES: tuple[Mapping[str, Any], ...] = (
    {"name": "age", "unit": "years", "low": 18.0, "high": 96.0},
    {"name": "sex", "values": ("F", "M")},
    {"name": "slice", "unit": "index", "low": 0.0, "high": 90.0},
)
DEFAULT_SCHEMA = Schema.from_json(COVARIATES)
# Covariates that the pipeline itself supplies for each picture.
SUPPLIED = ("slice",)


@dataclass(frozen=True)
class CohortSpec:
    """Where people and scans come from.

    layout: bids, camcan, oasis1 or table. root: the folder; table and file paths are relative to it.
    table: file name ("" = the layout's own). file_pattern: such as "{person}*_T1.nii.gz", with column
    names of the table in braces; it takes the place of the layout's own files, not that of a file column
    that columns names. columns: covariate, or person, scan, file -> column.
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
            if getattr(self, name) not in ("refuse", "drop", "absent"):
                raise InputError("cohort", name, getattr(self, name), "refuse, drop or absent")
        if not self.root:
            raise InputError("cohort", "root", "nothing", "the cohort's folder, as cohort.root=FOLDER")


class Scan(NamedTuple):
    """One scan. covariates: name -> float or category; a missing one is left out."""

    person: str
    scan: str
    path: Path
    covariates: dict[str, float | str]


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


def read_cohort(spec: CohortSpec, schema: Schema | None = None, supplied: Iterable[str] = SUPPLIED) -> Cohort:
    """The scans of a cohort with the covariates of `schema` (default: age and sex).

    A scan of a session gets what `sub-X_sessions.tsv`, a column such as `age_ses-2` or a row of that
    session (`session_id`) tells; numbers are read in the Units of the JSON beside a TSV.
    supplied: covariates that do not come from the table. Raises InputError for a table, row or
    value that the spec does not allow; warns about ages beyond the schema's domain, one age for
    several sessions, rows without a file and files without a row.
    """
    root = cohort_root(spec.root)
    layout = find_layout(spec.layout, root, spec.table, spec.file_pattern, dict(spec.columns))
    header, rows = read_table(layout.table, expected="a CSV or TSV with a header line (cohort.table=FILE)")
    wanted = [c for c in (schema or DEFAULT_SCHEMA).covariates if c.name not in tuple(supplied)]
    names = [name for c in wanted for name in (layout.columns.get(c.name, c.name), c.name)]
    sessions = cohort_sessions.SessionTables(root, layout.table, header, names)
    columns = {}
    for name in [*(c.name for c in wanted), *(n for n in ("person", "scan", "file") if n in layout.columns)]:
        columns[name] = _column(layout, header, name, sessions)
    if "person" not in columns:
        raise InputError(layout.table, "person", "no column named", "cohort.columns.person=COLUMN")

    dropped: list[tuple[str, str]] = []
    kept: list[Row] = []
    for column in spec.keep:
        if column not in header:
            raise InputError(layout.table, f"cohort.keep.{column}", "no such column", nearest(column, header))
    for row in rows:
        name = _row_name(row, columns)
        if not name:
            dropped.append((f"line {row.line}", "no person id"))
        elif reason := keep_row(row, spec.keep):
            dropped.append((name, reason))
        else:
            kept.append(row)
    by_session = ""
    if layout.name == "bids" and not layout.pattern and any(root.glob("sub-*/ses-*")):
        by_session = next((name for name in cohort_sessions.SESSION_COLUMNS if name in header), "")
    key_columns = [columns[k] for k in ("person", "scan") if k in columns] + [by_session] * bool(by_session)
    if "file" not in columns:  # rows that name other files are no repeats
        inside = [columns.get(name, name) for name in re.findall(r"\{([^}:!]+)", layout.pattern)]
        key_columns = list(dict.fromkeys([*key_columns, *(name for name in inside if name in header)]))
    compared = [columns[c.name] for c in wanted] + ([columns["file"]] if "file" in columns else [])
    kept, contradictions = merge_repeats(kept, key_columns, compared)
    _refuse_or_drop(layout.table, "repeated id", contradictions, spec, "bad_rows", "rows that agree", dropped)

    entries = _entries(kept, rows, wanted, columns, layout, sessions, by_session)
    _warn_one_age(entries, wanted, columns, layout.table)
    scans = []
    for entry, covariates in _usable(entries, wanted, columns, spec, layout.table, dropped):
        if not entry.paths:
            dropped.append((entry.name, f"no file: {entry.looked_for}"))
        person = entry.row.get(columns["person"])
        scans += [Scan(person, scan, path, dict(covariates)) for scan, path in entry.paths]
    orphans = orphan_files(layout, rows, columns)
    if by_session:
        orphans += _without_row(rows, columns, layout, by_session)
    orphans = [path.relative_to(root) if path.is_relative_to(root) else path for path in orphans]
    dropped += [(str(path), "file without a row in the table") for path in orphans]
    _warn_counts(layout.table, dropped)
    if not scans:
        reasons = Counter(reason.split(":")[0] for _, reason in dropped).most_common(4)
        raise InputError(layout.table, "scans", f"none of {len(rows)} rows usable {reasons}", "at least one scan")
    _unique_scans(scans, layout.table)
    _warn_domain(scans, wanted, layout.table)
    return Cohort(tuple(sorted(scans, key=lambda s: (s.person, s.scan))), tuple(dropped), layout.table)


def _column(layout: Layout, header: list[str], name: str, sessions: cohort_sessions.SessionTables) -> str:
    asked = layout.columns.get(name, name)
    if asked in header:
        return asked
    folded = [column for column in header if column.strip().lower() == asked.lower()]
    if len(folded) == 1 and name not in layout.explicit:
        return folded[0]
    if sessions.hold((asked, name)):  # where no session tells it, it is missing
        return asked
    expected = f"cohort.columns.{name}=COLUMN; {nearest(asked, header)}"
    raise InputError(layout.table, name, f"no column {asked!r}", expected)


def _row_name(row: Row, columns: Mapping[str, str]) -> str:
    for name in ("scan", "person"):
        if name in columns and (text := row.get(columns[name])) and text.lower() not in MISSING:
            return text
    return ""


def _refuse_or_drop(
    where: Path, what: str, bad: list, spec: CohortSpec, option: str, expected: str, dropped: list
) -> None:
    if bad and getattr(spec, option) == "refuse":
        shown = "; ".join(f"{name}: {reason}" for name, reason in bad[:5]) + ("; ..." if len(bad) > 5 else "")
        raise InputError(where, what, f"{len(bad)} bad rows ({shown})", f"{expected}, or cohort.{option}=drop")
    dropped.extend(bad)


def _entries(
    kept: Sequence[Row],
    rows: Sequence[Row],
    wanted: Sequence[Covariate],
    columns: Mapping[str, str],
    layout: Layout,
    sessions: cohort_sessions.SessionTables,
    by_session: str,
) -> list[_Entry]:
    """The files of every kept row, with what is told of their session in place of the row's own cells.

    by_session: the column that says which session a row is for, where a person has several rows.
    """
    entries = []
    factor = cache(cohort_sessions.factor)
    rows_of = Counter(row.get(columns["person"]) for row in rows)
    for row in kept:
        paths, looked_for = files_of_row(layout, row, columns)
        name = _row_name(row, columns)
        if by_session and rows_of[row.get(columns["person"])] > 1:
            session = cohort_sessions.label(row.get(by_session))
            paths = [item for item in paths if cohort_sessions.session_of(item[1]) == session]
            name = f"{name} session {session}"
        own = {c.name: factor(layout.table, columns[c.name], c) or 1.0 for c in wanted}
        shared = _Entry(name, row, [], looked_for, own)
        for scan, path in paths:
            told = {c: cell for c in wanted if (cell := sessions.cell(path, row, (columns[c.name], c.name)))}
            if not told:
                shared.paths.append((scan, path))
                continue
            cells = {**row.cells, **{columns[c.name]: cell.text for c, cell in told.items()}}
            units = {c.name: factor(cell.table, cell.column, c) or own[c.name] for c, cell in told.items()}
            name_here = f"{_row_name(row, columns)} session {cohort_sessions.session_of(path)}"
            entries.append(_Entry(name_here, Row(row.line, cells), [(scan, path)], looked_for, own | units))
        if shared.paths or not paths:
            entries.append(shared)
    return entries


def _without_row(rows: Sequence[Row], columns: Mapping[str, str], layout: Layout, by_session: str) -> list[Path]:
    """Files of people with a row for each session that are of another session."""
    sessions: dict[str, set[str]] = {}
    for row in rows:
        sessions.setdefault(row.get(columns["person"]), set()).add(cohort_sessions.label(row.get(by_session)))
    first = {row.get(columns["person"]): row for row in rows if len(sessions[row.get(columns["person"])]) > 1}
    files = ((person, path) for person, row in first.items() for _, path in files_of_row(layout, row, columns).paths)
    return [path for person, path in files if cohort_sessions.session_of(path) not in sessions[person]]


def _usable(
    entries: Sequence[_Entry],
    wanted: Sequence[Covariate],
    columns: Mapping[str, str],
    spec: CohortSpec,
    table: Path,
    dropped: list,
) -> list[tuple[_Entry, dict[str, float | str]]]:
    """[(entry, covariates)]; values that cannot be used are refused, dropped or left absent."""
    usable = []
    bad: dict[str, list[tuple[str, str]]] = {c.name: [] for c in wanted}
    for entry in entries:
        covariates: dict[str, float | str] = {}
        reasons = {}
        for covariate in wanted:
            codes = spec.sex_codes if covariate.name == "sex" else {}
            try:
                value = parse_value(entry.row.get(columns[covariate.name]), covariate, codes)
                scale = entry.factors[covariate.name]
                covariates[covariate.name] = value if isinstance(value, str) or scale == 1 else value * scale
            except Unusable as error:
                if getattr(spec, _rule(covariate)) != "absent":
                    reasons[covariate.name] = f"{covariate.name}: {error}"
        for name, reason in reasons.items():
            bad[name].append((entry.name, reason))
        if not reasons:
            usable.append((entry, covariates))
    refused_already: set[str] = set()
    for covariate in wanted:
        hint = ""
        if isinstance(covariate, Continuous):
            expected = f"a number in {covariate.unit}"
        else:
            expected = f"one of {', '.join(covariate.values)}"
            if covariate.name == "sex":
                hint = "; codes such as 1 and 2 need cohort.sex_codes.1=M cohort.sex_codes.2=F"
        expected += f" (column {columns[covariate.name]!r}{hint})"
        rows = [(name, reason) for name, reason in bad[covariate.name] if name not in refused_already]
        _refuse_or_drop(table, covariate.name, rows, spec, _rule(covariate), expected, dropped)
        refused_already |= {name for name, _ in rows}
    return usable


def _rule(covariate: Covariate) -> str:
    """The field of CohortSpec that says what becomes of rows without a usable value."""
    return "bad_ages" if isinstance(covariate, Continuous) else "bad_rows"


def _unique_scans(scans: list[Scan], table: Path) -> None:
    for what, values in (("scan id", [s.scan for s in scans]), ("file", [str(s.path) for s in scans])):
        repeated = [value for value, count in Counter(values).items() if count > 1]
        if repeated:
            raise InputError(table, what, f"{repeated[:3]} more than once", f"each {what} for one row")


def _warn_counts(table: Path, dropped: list[tuple[str, str]]) -> None:
    for start, text in (("no file", "rows without a file"), ("file without a row", "files without a row")):
        names = [name for name, reason in dropped if reason.startswith(start)]
        if names:
            warnings.warn(f"{table}: found {len(names)} {text} ({_shown(names)}); left out", stacklevel=3)


def _shown(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _warn_one_age(entries: Sequence[_Entry], wanted: Sequence[Covariate], columns, table: Path) -> None:
    """Say which people have scans of several sessions that share one cell for a number such as age."""
    numbers = [c.name for c in wanted if isinstance(c, Continuous) and cohort_sessions.is_time(c.unit)]
    shared = [
        e.row.get(columns["person"]) for e in entries if len({cohort_sessions.session_of(p) for _, p in e.paths}) > 1
    ]
    if shared and numbers:
        names = ", ".join(numbers)
        warnings.warn(
            f"{table}: {names}: found one for all sessions of {len(shared)} people ({_shown(shared)}), which is used; "
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
