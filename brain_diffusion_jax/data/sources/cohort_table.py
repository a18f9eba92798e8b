"""Tables of people as rows of text: filtering, merging repeats, and one cell to the value of a covariate."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence

from brain_diffusion_jax.covariates import Continuous, Covariate
from brain_diffusion_jax.data.table import Row

# What tables write for "not known", lower case.
MISSING = ("", "n/a", "na", "nan", "none", "null", "unknown", "-", ".")


def same_value(left: object, right: object) -> bool:
    """Equal as text, as numbers ("0" and "0.0"), or as truth (R's TRUE is Python's True)."""
    words = str(left).strip(), str(right).strip()
    if words[0] == words[1] or words[0].lower() == words[1].lower() in ("true", "false"):
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


class Unusable(Exception):
    """A cell that gives no value; the text says what was found."""


def parse_value(text: str, covariate: Covariate, codes: Mapping[str, str]) -> float | str:
    """A finite number, or one of the covariate's words; raises Unusable.

    codes: code in the table -> word, before anything else is tried. A word of the covariate counts, were it "none".
    """
    if isinstance(covariate, Continuous):
        return _number(text, covariate)
    for code, word in codes.items():
        if same_value(code, text):
            if (meant := covariate.word(word)) is None:
                raise Unusable(f"code {text!r} means {word!r}, which the schema does not have")
            return meant
    if (found := covariate.word(text)) is None:  # "none" may be a category
        raise Unusable(f"missing ({text!r})" if text.lower() in MISSING else f"unknown code {text!r}")
    return found


def _number(text: str, covariate: Continuous) -> float:
    if text.lower() in MISSING:
        raise Unusable(f"missing ({text!r})")
    try:
        number = float(text)
    except ValueError:
        hint = " (censored: the true value is not in the table)" if text.rstrip().endswith("+") else ""
        raise Unusable(f"no number ({text!r}){hint}") from None
    if not math.isfinite(number):
        raise Unusable(f"no finite number ({text!r})")
    if reason := covariate.other_unit(number):
        raise Unusable(f"{text}, {reason}")
    return number


def with_computed(header: list[str], rows: Sequence[Row], asked: Iterable[str]) -> tuple[list[str], list[Row]]:
    """Header and rows with a column for every asked-for "A + B", "A / B" or "A + B / C" of columns that are there.

    The sum is divided by the last column. The cell is "" where a part is missing or no number, or the divisor is 0.
    """
    names = [n for n in dict.fromkeys(asked) if n not in header and _parts(n) and set(_parts(n)) <= set(header)]
    if not names:
        return header, list(rows)
    found = [Row(row.line, {**row.cells, **{name: _computed(row, name) for name in names}}) for row in rows]
    return [*header, *names], found


def _parts(name: str) -> list[str]:
    """The columns that an expression is made of; [] of a plain name."""
    parts = [part.strip() for part in re.split(r" [+/] ", name)]
    return parts if len(parts) > 1 and name.count(" / ") <= 1 else []


def _computed(row: Row, name: str) -> str:
    over, _, divisor = name.partition(" / ")
    try:
        total = sum(float(row.get(part.strip())) for part in over.split(" + "))
        return repr(total / float(row.get(divisor.strip())) if divisor else total)
    except (ValueError, ZeroDivisionError):
        return ""
