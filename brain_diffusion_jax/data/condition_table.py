"""Conditions that a user wrote down: a table with one a row, and words to values of the schema."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from brain_diffusion_jax.covariates import Schema
from brain_diffusion_jax.data.table import read_table
from brain_diffusion_jax.errors import InputError, nearest


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


def typed(condition: dict[str, str], schema: Schema, where: str) -> dict[str, Any]:
    """Numbers as typed by the user, not after a trip through float32; words as the schema spells them."""
    try:
        (decoded,) = schema.decode(schema.encode([condition]))
    except InputError as error:
        raise InputError(where, error.field, error.found, error.expected) from None
    return {k: decoded[k] if isinstance(decoded[k], str) else float(v) for k, v in condition.items()}
