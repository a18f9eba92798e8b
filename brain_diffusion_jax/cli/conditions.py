"""--set and --conditions: from words on the command line to a list of conditions."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from brain_diffusion_jax.covariates import Schema
from brain_diffusion_jax.data.table import read_table
from brain_diffusion_jax.errors import InputError, nearest


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--set",
        action="append",
        nargs="+",
        default=[],
        metavar="NAME=VALUE",
        help="a condition, e.g. --set age=70 sex=F slice=45; repeat for several; age=20,40 means both; "
        "what is left out is unconditional",
    )
    parser.add_argument(
        "--conditions", metavar="CSV", help="a CSV or TSV with one condition a row (columns: the covariates)"
    )
    parser.add_argument("--each", type=int, default=1, metavar="N", help="pictures per condition (default 1)")


def parse_set(words: Sequence[str]) -> list[dict[str, Any]]:
    """["age=20,40", "sex=F"] -> [{"age": "20", "sex": "F"}, {"age": "40", "sex": "F"}]."""
    choices: dict[str, list[str]] = {}
    for word in words:
        name, separator, value = word.partition("=")
        values = [v.strip() for v in value.split(",")]
        if not separator or not all(values):  # as an empty shell variable leaves it
            raise InputError("--set", name, repr(word), "name=value, or name=value,value")
        if name in choices:
            raise InputError("--set", name, "given twice", "each covariate once (age=20,40 for two values)")
        choices[name] = values
    return [dict(zip(choices, values, strict=True)) for values in itertools.product(*choices.values())]


def read_conditions(path: Path, schema: Schema) -> list[tuple[str, dict[str, str]]]:
    """[(file and line, condition)] of a table with a condition a row; a blank cell is left out."""
    expected = f"a header with {', '.join(schema.names)} and a condition a row"
    header, rows = read_table(path, "--conditions", expected, blank_rows=True)
    for name in header:
        if name not in schema.names:
            raise InputError(path, "header", f"column {name!r}", nearest(name, schema.names))
    found = [(f"{path}, line {row.line}", {k: v for k, v in row.cells.items() if v}) for row in rows]
    for where, condition in found:
        if not condition:
            raise InputError(where, "condition", "blank cells only", "a value, or no such row")
    return found


def from_arguments(arguments: argparse.Namespace, schema: Schema) -> list[dict[str, Any]]:
    """All conditions asked for, typed and in order; {} (unconditional) if none was named.

    Raises InputError for unknown covariates and values before anything is sampled.
    """
    if arguments.each < 1:
        raise InputError("--each", "N", arguments.each, "1 or more")
    found = [("--set", c) for words in arguments.set for c in parse_set(words)]
    if arguments.conditions:
        found += read_conditions(Path(arguments.conditions), schema)
    typed = [_typed(condition, schema, where) for where, condition in found] or [{}]
    return [c for c in typed for _ in range(arguments.each)]


def _typed(condition: dict[str, str], schema: Schema, where: str) -> dict[str, Any]:
    """Numbers as typed by the user, not after a trip through float32; words as the schema spells them."""
    try:
        (decoded,) = schema.decode(schema.encode([condition]))
    except InputError as error:
        raise InputError(where, error.field, error.found, error.expected) from None
    return {k: decoded[k] if isinstance(decoded[k], str) else float(v) for k, v in condition.items()}
