"""--set and --conditions: from words on the command line to a list of conditions."""

from __future__ import annotations

import argparse
import csv
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from brain_diffusion_jax.covariates import Schema
from brain_diffusion_jax.errors import InputError


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
        "--conditions", metavar="CSV", help="a table with one condition a row (columns: the covariates)"
    )
    parser.add_argument("--each", type=int, default=1, metavar="N", help="pictures per condition (default 1)")


def parse_set(words: Sequence[str]) -> list[dict[str, Any]]:
    """["age=20,40", "sex=F"] -> [{"age": "20", "sex": "F"}, {"age": "40", "sex": "F"}]."""
    choices: dict[str, list[str]] = {}
    for word in words:
        name, separator, value = word.partition("=")
        if not separator or not value:
            raise InputError("--set", name, repr(word), "name=value")
        if name in choices:
            raise InputError("--set", name, "given twice", "each covariate once (age=20,40 for two values)")
        choices[name] = [v for v in value.split(",") if v]
    return [dict(zip(choices, values, strict=True)) for values in itertools.product(*choices.values())]


def from_arguments(arguments: argparse.Namespace, schema: Schema) -> list[dict[str, Any]]:
    """All conditions asked for, typed and in order; {} (unconditional) if none was named.

    Raises InputError for unknown covariates and values before anything is sampled.
    """
    if arguments.each < 1:
        raise InputError("--each", "N", arguments.each, "1 or more")
    conditions = [c for words in arguments.set for c in parse_set(words)]
    if arguments.conditions:
        path = Path(arguments.conditions)
        try:
            with path.open(encoding="utf-8", newline="") as stream:
                rows = list(csv.DictReader(stream))
        except OSError as error:
            raise InputError(path, "--conditions", error.strerror, "a readable CSV file") from error
        conditions += [{k: v for k, v in row.items() if k and v not in ("", None)} for row in rows]
        if not rows:
            raise InputError(path, "rows", 0, f"a header with {', '.join(schema.names)} and a condition a row")
    conditions = conditions or [{}]
    decoded = schema.decode(schema.encode(conditions))
    # Numbers as typed by the user, not after a trip through float32.
    typed = [
        {k: v if isinstance(d[k], str) else float(v) for k, v in c.items()}
        for c, d in zip(conditions, decoded, strict=True)
    ]
    return [c for c in typed for _ in range(arguments.each)]
