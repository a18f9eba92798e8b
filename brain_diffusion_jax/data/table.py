"""Tables in files: CSV and TSV, as this package, Excel, R and pandas write them.

Reading: UTF-8, separated by comma, semicolon or tab. A quote counts only where it opens a cell and its partner
ends that cell; any other quote is text. Writing: whole or not at all; a cell that a spreadsheet would run as a
formula is written behind an apostrophe, which reading takes off again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from brain_diffusion_jax import files
from brain_diffusion_jax.errors import InputError

# What Excel and LibreOffice take for the start of a formula, full-width forms included.
_FORMULA = re.compile("'*[=+\\-@\t\r\n＝＋－＠]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|[+-]?(inf|nan)|-", re.IGNORECASE)
_QUOTED = re.compile(r'"([^"]*+(?:""[^"]*+)*+)"')
_LINE = re.compile(r"[^\r\n]*+")
_LINE_END = re.compile(r"\r\n|\r|\n")  # nothing else: U+2028, form feeds and their kind are text
_EXCEL_SEPARATOR = re.compile(r'"?sep=([^\r\n"])"?[ \t]*(?:\r\n|\r|\n)', re.IGNORECASE)


@dataclass(frozen=True)
class Row:
    """One row of a table, stripped text; line: its number in the file, the first line being 1."""

    line: int
    cells: Mapping[str, str]

    def get(self, column: str) -> str:
        """The text of a cell; "" where there is none."""
        return self.cells.get(column, "")


def read_table(
    path: str | Path,
    what: str = "table",
    expected: str = "a CSV or TSV with a header line",
    *,
    blank_rows: bool = False,
) -> tuple[list[str], list[Row]]:
    """(header, rows) of a CSV or TSV; empty lines are passed over, and rows of empty cells unless `blank_rows`.

    Raises InputError with the line for a cell too many or too few, a quote that joins rows, text below no name.
    """
    text = files.read_text(path, what, expected=expected)
    if "\0" in text:
        raise InputError(path, f"line {_line_ends(text, 0, text.index(chr(0))) + 1}", "a NUL byte", "UTF-8 text")
    (line, header), *found = [*_records(text, "\t" if Path(path).suffix.lower() == ".tsv" else "", path)] or [(1, [])]
    header = [re.sub(r"\s*[\r\n]\s*", " ", name) for name in header]  # Excel wraps long names
    if not any(header):
        raise InputError(path, "header", "nothing", "a line of column names")
    repeated = sorted({name for name in header if name and header.count(name) > 1})
    if repeated:
        raise InputError(path, "header", f"columns {repeated} twice", "each column once")
    width = len(header)
    # A spreadsheet may end every row but the header with the same empty cells.
    if not any(any(cells[width:]) for _, cells in found):
        header += [""] * (min((len(cells) for _, cells in found), default=0) - width)
    rows = []
    for line, cells in found:
        if not any(cells) and not (blank_rows and len(cells) > 1):
            continue
        if len(cells) != len(header):
            raise InputError(path, f"line {line}", f"{len(cells)} cells", f"{width}, as in the header")
        # R and pandas number the rows in a first column without a name; elsewhere such text is a shifted row.
        stray = [cell for place, (name, cell) in enumerate(zip(header, cells)) if place and cell and not name]
        if stray:
            raise InputError(path, f"line {line}", f"{stray[0][:40]!r} below no column name", "a name, or no text")
        rows.append(Row(line, {name: cell for name, cell in zip(header, cells) if name}))
    if not rows:
        raise InputError(path, "rows", "none", "at least one row below the header")
    return [name for name in header if name], rows


def _records(text: str, delimiter: str, path: str | Path) -> Iterator[tuple[int, list[str]]]:
    """(line, stripped cells) of all records; delimiter "": what a `sep=` line says, or what splits the header most."""
    place, line, width = 0, 1, 0
    if separator := _EXCEL_SEPARATOR.match(text):
        delimiter, place, line = separator[1], separator.end(), 2
    delimiter = delimiter or max(",;\t", key=lambda mark: len(_record(text, place, mark)[0]))
    while place < len(text):
        cells, end = _record(text, place, delimiter)
        inside = [piece.count(delimiter) + 1 for piece in _LINE_END.split(text[place:end]) if piece]
        # Lines that are rows by themselves were joined by a quote that stands alone, and the next one after it.
        if len(inside) > 1 and min(inside[0], max(inside[1:])) >= (width or len(cells)):
            if delimiter != "\t":
                found = f"a quote that joins it with the next {len(inside) - 1} lines"
                raise InputError(path, f"line {line}", found, "a quote at both ends of a cell, or none")
            cells, end = _record(text, place, delimiter, joining=False)  # cells of a TSV have no line ends
        width = width or len(cells)
        yield line, [_from_spreadsheet(cell.strip()) for cell in cells]
        line += _line_ends(text, place, end)
        place = end


def _record(text: str, place: int, delimiter: str, joining: bool = True) -> tuple[list[str], int]:
    """(cells, end) of the record at `place`; joining: a quoted cell may hold line ends."""
    line = _LINE.match(text, place)
    assert line is not None  # it matches the empty text too
    if '"' not in line[0]:
        cells, place = line[0].split(delimiter), line.end()
    else:
        plain = re.compile(f"[^{re.escape(delimiter)}\r\n]*+")
        cells = []
        while not cells or text[place : place + 1] == delimiter:
            place += bool(cells)
            cell = _QUOTED.match(text, place)
            whole = cell and text[cell.end() : cell.end() + 1] in ("", delimiter, "\r", "\n")
            if cell and whole and (joining or not _LINE_END.search(cell[1])):
                cells.append(cell[1].replace('""', '"'))
            else:
                cell = plain.match(text, place)
                assert cell is not None
                cells.append(cell[0])
            place = cell.end()
    ended = _LINE_END.match(text, place)
    return cells, ended.end() if ended else place


def _line_ends(text: str, start: int, end: int) -> int:
    return text.count("\n", start, end) + text.count("\r", start, end) - text.count("\r\n", start, end)


def write_table(path: str | Path, header: Sequence[object], rows: Iterable[Sequence[object]], mark: str = ",") -> None:
    """A CSV, or a TSV with `mark` "\\t"; `read_table` gives the same text back. None is an empty cell."""
    files.write_text(path, table_text([header, *rows], mark))


def table_text(rows: Iterable[Sequence[object]], mark: str = ",") -> str:
    """Lines of a table, each with its line end."""
    return "".join(mark.join(_cell(value, mark) for value in row) + "\n" for row in rows)


def _cell(value: object, mark: str) -> str:
    text = "" if value is None else str(value)
    if _FORMULA.match(text) and not _NUMBER.fullmatch(text):
        text = f"'{text}"
    return '"' + text.replace('"', '""') + '"' if any(sign in text for sign in (mark, '"', "\r", "\n")) else text


def _from_spreadsheet(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell
