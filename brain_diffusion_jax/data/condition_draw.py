"""Conditions of a synthetic data set of any size, row by row: each depends on the seed and its own number alone.

So any part of the rows, made anywhere in any order, is the same part of the same data set.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from brain_diffusion_jax.covariates import Condition, Continuous, Schema
from brain_diffusion_jax.data.condition_table import read_conditions, typed
from brain_diffusion_jax.data.shards.loader import read_conditions as conditions_of
from brain_diffusion_jax.data.shards.reader import open_split
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.seeds import COUNT, check_seed

_ODD = 2654435761  # multiplied modulo 2^32, no two rows get one seed (Knuth's multiplicative hash)


class DrawnRow(NamedTuple):
    """row: its number in the whole data set, from 0. seed: of its noise, another for every row."""

    row: int
    condition: Mapping[str, Any]
    seed: int


def row_seed(seed: int, row: int) -> int:
    """A seed for a row's noise: distinct for the 2^32 rows of one `seed`, unlike those of the next."""
    start = int.from_bytes(hashlib.sha256(f"row seeds {seed}".encode()).digest()[:8], "big")
    return (start + row * _ODD) % COUNT


def shard_rows(count: int, shard: str = "0/1") -> range:
    """The rows of part "i/n" of `count`, i from 0: i, i + n, i + 2n ...; InputError for another text."""
    first, separator, of = shard.partition("/")
    if not (separator and first.isdecimal() and of.isdecimal() and int(first) < int(of)):
        raise InputError("command line", "--shard", shard, "i/n, the parts counted from 0: 0/4, 1/4, 2/4, 3/4")
    return range(int(first), count, int(of))


@dataclass(frozen=True)
class ConditionDraw:
    """Whole rows of training conditions, drawn with replacement, so that what goes together stays together.

    values, present: [records, covariates] as encoded. spread: standard deviation of what is added to each number, as
    a fraction of its domain, kept within the range of the training rows; 0 adds nothing.
    """

    schema: Schema
    values: Float[np.ndarray, "records covariates"] = field(repr=False)
    present: Bool[np.ndarray, "records covariates"] = field(repr=False)
    seed: int = 0
    spread: float = 0.0

    def __post_init__(self) -> None:
        check_seed(self.seed, "draw")
        if not 0 <= self.spread < 1:
            raise InputError("draw", "spread", self.spread, "a fraction of the domain in [0, 1)")
        if not len(self.values):
            raise InputError("draw", "conditions", "no rows", "conditions of training data")

    @classmethod
    def of_shards(
        cls, folder: str | Path, split: str = "train", *, seed: int = 0, spread: float = 0.0
    ) -> ConditionDraw:
        """Draws from the conditions of a split of prepared shards."""
        source = open_split(folder, split)
        schema = source.contract.schema
        values, present = conditions_of(source, len(schema.names))
        return cls(schema, values, present.astype(bool), seed, spread)

    def row(self, number: int) -> DrawnRow:
        """One row of the data set."""
        rng = np.random.default_rng([self.seed, number])
        chosen = int(rng.integers(len(self.values)))
        values, present = self.values[chosen].astype(np.float64), self.present[chosen]
        if self.spread:
            # A number for every covariate, so that it does not depend on which of them are present.
            noise = self.spread * rng.standard_normal(len(values))
            values = np.array([self._moved(i, v, n) for i, (v, n) in enumerate(zip(values, noise, strict=True))])
        (condition,) = self.schema.decode(Condition(values[None], present[None]))
        return DrawnRow(number, condition, row_seed(self.seed, number))

    def _moved(self, column: int, value: float, noise: float) -> float:
        if not isinstance(self.schema.covariates[column], Continuous):
            return value
        return float(np.clip(value + noise, *self._ranges[column]))

    @cached_property
    def _ranges(self) -> list[tuple[float, float]]:
        """Lowest and highest encoded value of each covariate in the training rows."""
        seen = [values[known] for values, known in zip(self.values.T, self.present.T, strict=True)]
        return [(float(v.min()), float(v.max())) if len(v) else (0.0, 0.0) for v in seen]

    def rows(self, numbers: range) -> Iterator[DrawnRow]:
        """The rows of these numbers, such as those of `shard_rows`."""
        return map(self.row, numbers)


def table_rows(path: Path, schema: Schema, seed: int = 0) -> list[DrawnRow]:
    """The rows of a user's table of conditions, in its order; InputError names line and column of a bad cell."""
    check_seed(seed, "draw")
    named = read_conditions(path, schema)
    return [DrawnRow(i, typed(cells, schema, where), row_seed(seed, i)) for i, (where, cells) in enumerate(named)]
