"""Typed covariates: name, unit and domain of every condition of a model.

A batch of conditions is two arrays:
`values` (continuous scaled to [0, 1] over its domain, categorical as index) and `present`.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from brain_diffusion_jax.errors import InputError, nearest
from brain_diffusion_jax.json_types import require_types

_LARGEST = 1e30  # bound of an encoded number; networks compute in single precision


class Condition(NamedTuple):
    """A batch of conditions. values: float32[batch, n]; present: bool[batch, n] (False = null)."""

    values: Any
    present: Any


@dataclass(frozen=True)
class Continuous:
    """A number with a unit; [low, high] is the domain seen in training."""

    name: str
    unit: str
    low: float
    high: float

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise InputError(f"covariate {self.name}", "low, high", (self.low, self.high), "low < high")

    def encode(self, value: object) -> float:
        """(value - low) / (high - low): 0 to 1 inside the domain.

        Warns outside the domain (extrapolation); raises InputError for NaN, infinities, what is no number, and a
        number that can only be of another unit (`other_unit`).
        """
        try:
            number = float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        encoded = (number - self.low) / (self.high - self.low)
        if not abs(encoded) < _LARGEST:  # NaN too
            raise InputError("condition", self.name, repr(value), self._expected())
        if reason := self.other_unit(number):
            raise InputError("condition", self.name, f"{number:g}: {reason}", self._expected())
        if not self.low <= number <= self.high:
            warnings.warn(
                f"condition: {self.name}: found {number:g}; the model saw {self.low:g} to {self.high:g} "
                f"{self.unit} (extrapolating)",
                stacklevel=3,
            )
        return encoded

    def _expected(self) -> str:
        return f"a number in {self.unit}, such as {self.low:g} to {self.high:g}"

    def other_unit(self, number: float) -> str:
        """Why a number cannot be in this unit, in words; "" where it can.

        Volumes in mm3 and fractions are mixed up easily, and a missing volume is often written as 0: of a unit "mm3"
        numbers from 0 to a tenth of the domain's lower end are refused, of a unit "fraction" those above 2.
        """
        words = self.unit.replace("^", "").replace("³", "3").split()
        if "mm3" in words and (0 <= number < self.low / 10 or 0 < number <= 1):
            return "no volume (leave a missing one out)" if number == 0 else "a fraction, or a volume in another unit"
        if "fraction" in words and number > 2:
            return "a volume or a percentage"
        return ""

    def in_unit(self, encoded: Any) -> Any:
        """Encoded numbers, arrays too, in `unit`."""
        return self.low + encoded * (self.high - self.low)

    def decode(self, encoded: float) -> float:
        """The inverse of `encode`, a Python number in `unit`."""
        return float(self.in_unit(encoded))

    def to_json(self) -> dict[str, Any]:
        """{name, unit, low, high}, as `Schema.from_json` reads it."""
        return {"name": self.name, "unit": self.unit, "low": self.low, "high": self.high}


# Words that can mean one thing only. Numbers cannot: 1 is male in one cohort and female in another.
_SEX_WORDS = {"m": "M", "male": "M", "f": "F", "female": "F"}


@dataclass(frozen=True)
class Categorical:
    """One of a fixed set of words; the encoded value is its index."""

    name: str
    values: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", tuple(str(v) for v in self.values))
        if not self.values or len(set(self.values)) != len(self.values):
            raise InputError(f"covariate {self.name}", "values", self.values, "distinct words")

    def word(self, text: str) -> str | None:
        """The category that `text` can only mean: itself, in other letters, or m, male, f, female of (F, M)."""
        if text in self.values:
            return text
        if set(self.values) == {"F", "M"} and text.casefold() in _SEX_WORDS:
            return _SEX_WORDS[text.casefold()]
        folded = [word for word in self.values if word.casefold() == text.casefold()]
        return folded[0] if len(folded) == 1 else None

    def encode(self, value: object) -> float:
        """The index of the category; InputError for none of them. See `word` for what counts as one."""
        word = self.word(str(value))
        if word is None:
            raise InputError("condition", self.name, repr(value), f"one of {', '.join(self.values)}")
        return float(self.values.index(word))

    def decode(self, encoded: float) -> str:
        """The category with this index."""
        return self.values[round(encoded)]

    def to_json(self) -> dict[str, Any]:
        """{name, values}, as `Schema.from_json` reads it."""
        return {"name": self.name, "values": list(self.values)}


Covariate = Continuous | Categorical


@dataclass(frozen=True)
class Schema:
    """An ordered tuple of covariates."""

    covariates: tuple[Covariate, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "covariates", tuple(self.covariates))
        if len(set(self.names)) != len(self.names):
            raise InputError("schema", "names", self.names, "each name once")

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the covariates, in order."""
        return tuple(c.name for c in self.covariates)

    @property
    def cardinalities(self) -> tuple[int, ...]:
        """Number of categories of each covariate; 0 marks a continuous one. All a network needs."""
        return tuple(len(c.values) if isinstance(c, Categorical) else 0 for c in self.covariates)

    def __getitem__(self, name: str) -> Covariate:
        for covariate in self.covariates:
            if covariate.name == name:
                return covariate
        raise InputError("schema", "covariate", name, nearest(name, self.names))

    def encode(self, conditions: Sequence[Mapping[str, object]]) -> Condition:
        """Encode conditions such as {"age": 70, "sex": "F"}; a name left out or None is absent.

        Raises InputError for unknown names and values; warns beyond a continuous domain.
        """
        values = np.zeros((len(conditions), len(self.covariates)), np.float32)
        present = np.zeros(values.shape, bool)
        for row, condition in enumerate(conditions):
            for name in condition:
                self[name]
            for column, covariate in enumerate(self.covariates):
                value = condition.get(covariate.name)
                if value is not None:
                    values[row, column] = covariate.encode(value)
                    present[row, column] = True
        return Condition(values, present)

    def decode(self, condition: Condition) -> list[dict[str, Any]]:
        """The inverse of `encode`; absent covariates are left out."""
        values, present = np.asarray(condition.values), np.asarray(condition.present)
        return [
            {c.name: c.decode(float(v)) for c, v, p in zip(self.covariates, vs, ps, strict=True) if p}
            for vs, ps in zip(values, present, strict=True)
        ]

    def to_json(self) -> list[dict[str, Any]]:
        """The inverse of `from_json`."""
        return [c.to_json() for c in self.covariates]

    @classmethod
    def from_json(cls, items: Sequence[Mapping[str, Any]]) -> Schema:
        """Covariates from dicts: {name, values} is categorical, {name, unit, low, high} continuous."""
        covariates: list[Covariate] = []
        for item in items:
            types = {"name": str, "unit": str, "low": float, "high": float, "values": list[str | int]}
            require_types(dict(item), types, "schema", f"{str(item.get('name', '?'))[:40]}.")
            kind: type[Covariate] = Categorical if "values" in item else Continuous
            try:
                covariates.append(kind(**dict(item)))
            except TypeError as error:
                raise InputError("schema", str(item.get("name", "?")), dict(item), str(error)) from error
        return cls(tuple(covariates))
