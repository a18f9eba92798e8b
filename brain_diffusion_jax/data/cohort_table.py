"""Tables of people as rows of text: reading CSV and TSV, filtering, merging repeats."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from brain_diffusion_jax.errors import InputError

# What tables write for "not known", lower case.
MISSING = ("", "n/a", "na", "nan", "none", "null", "unknown", "-", ".")


@dataclass(frozen=True)
class Row:
    """One row of a table, stripped text; line: its number in the file, the header being line 1."""

    line: int
    cells: Mapping[str, str]

    def get(self, column: str) -> str:
        return self.cells.get(column, "")


def read_table(path: Path) -> tuple[list[str], list[Row]]:
    """(header, rows) of a CSV or TSV (comma, semicolon or tab), UTF-8 with or without BOM."""
    if not path.is_file():
        raise InputError(path, "table", "no such file", "a CSV or TSV with a header line (cohort.table=FILE)")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(path, "table", error.strerror or error, "a file that may be read") from error
    except UnicodeDecodeError as error:
        raise InputError(path, "encoding", str(error), "UTF-8 text") from None
    first = text.split("\n", 1)[0]
    if path.suffix.lower() == ".tsv":
        delimiter = "\t"
    else:
        # A quoted header may hold commas of its own, so count what splits it into most columns.
        delimiter = max(",;\t", key=lambda mark: len(next(csv.reader([first], delimiter=mark), [])))
    lines = list(csv.reader(text.splitlines(), delimiter=delimiter))
    if not lines or not any(cell.strip() for cell in lines[0]):
        raise InputError(path, "header", "nothing", "a line of column names")
    header = [cell.strip() for cell in lines[0]]
    repeated = {name for name in header if header.count(name) > 1}
    if repeated:
        raise InputError(path, "header", f"columns {sorted(repeated)} twice", "each column once")
    rows = []
    for number, cells in enumerate(lines[1:], start=2):
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(header):
            raise InputError(path, f"line {number}", f"{len(cells)} cells", f"{len(header)}, as in the header")
        rows.append(Row(number, dict(zip(header, (cell.strip() for cell in cells)))))
    if not rows:
        raise InputError(path, "rows", "none", "one row for each person or scan")
    return header, rows


def same_value(left: object, right: object) -> bool:
    """Equal as text, or as numbers ("0" and "0.0")."""
    if str(left).strip() == str(right).strip():
        return True
    try:
        return float(left) == float(right)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False


def keep_row(row: Row, keep: Mapping[str, object]) -> str:
    """ "" if the row has one of the wanted values in every column of `keep`, else the reason."""
    for column, wanted in keep.items():
        values = wanted if isinstance(wanted, tuple | list) else (wanted,)
        if not any(same_value(row.get(column), value) for value in values):
            return f"keep: {column} is {row.get(column)!r}, not {' or '.join(map(str, values))}"
    return ""


def merge_repeats(
    rows: Sequence[Row], key_columns: Sequence[str], compared: Sequence[str]
) -> tuple[list[Row], list[tuple[str, str]]]:
    """(rows with repeats merged, [(id, reason)] of ids whose rows contradict each other).

    Rows of one id that agree in the compared columns become one; a blank agrees with anything and
    is filled. An id that contradicts itself leaves with all its rows: nothing says which is right.
    """
    merged: dict[tuple[str, ...], Row] = {}
    bad: dict[tuple[str, ...], str] = {}
    for row in rows:
        key = tuple(row.get(column) for column in key_columns)
        if key not in merged:
            merged[key] = row
            continue
        other, cells = merged[key], dict(merged[key].cells)
        for column in compared:
            mine, theirs = other.get(column), row.get(column)
            if mine.lower() in MISSING:
                cells[column] = theirs
            elif theirs.lower() not in MISSING and not same_value(mine, theirs):
                start = bad[key] + ", " if key in bad else f"lines {other.line} and {row.line} disagree: "
                bad[key] = f"{start}{column} {mine!r} and {theirs!r}"
        merged[key] = Row(other.line, cells)
    kept = [row for key, row in merged.items() if key not in bad]
    return kept, [("/".join(key), reason) for key, reason in bad.items()]
