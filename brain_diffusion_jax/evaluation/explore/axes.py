"""Which values the sliders of an explorer have: those that were given, and defaults that fit a number of pictures."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from brain_diffusion_jax.contract import Contract
from brain_diffusion_jax.covariates import Categorical, Continuous, Schema
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation.probes.roles import Roles

NUMBERS = 8  # values of a number
SCALE, SEED = "guidance scale", "seed"
_FEWER = {8: 5, 5: 3, 3: 1}  # a number with fewer values, step by step


@dataclass(frozen=True)
class Axis:
    """A slider. values: numbers, or words of a categorical covariate; unit: of numbers."""

    name: str
    values: tuple[Any, ...]
    unit: str = ""

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True)
class Axes:
    """The sliders of an explorer. covariates: may be none; left_out: covariates that no picture is told."""

    covariates: tuple[Axis, ...]
    scales: Axis
    seeds: Axis
    left_out: tuple[str, ...] = ()

    @property
    def all(self) -> tuple[Axis, ...]:
        """In the order of the pictures, the last one running fastest."""
        return (*self.covariates, self.scales, self.seeds)

    @property
    def count(self) -> int:
        """How many pictures they ask for."""
        return math.prod(map(len, self.all))

    def conditions(self) -> list[dict[str, Any]]:
        """Of every place of the covariates' sliders, in the order of the pictures."""
        names = [axis.name for axis in self.covariates]
        return [dict(zip(names, v, strict=True)) for v in itertools.product(*(a.values for a in self.covariates))]

    def text(self) -> str:
        """Such as "8 age x 2 sex x 4 guidance scale"."""
        return " x ".join(f"{len(axis)} {axis.name}" for axis in self.all if len(axis) > 1) or "1"


def spread(low: float, high: float, count: int) -> tuple[float, ...]:
    """`count` numbers from low to high, both included, those between rounded to 1/50 of the range or finer.

    One number is the middle.
    """
    step = 10.0 ** math.floor(math.log10((high - low) / 50))
    places = np.linspace(low, high, count + 2 if count == 1 else count)
    rounded = np.round(np.rint(places / step) * step, 12).tolist()[1:-1]
    return tuple(rounded) if count == 1 else (low, *rounded, high)


def numbers_of(covariate: Continuous, contract: Contract | None, count: int) -> tuple[float, ...]:
    """Default values: over the domain; of a slice position those that the model was trained on."""
    known: Sequence[float] | None = None
    if contract is not None and contract.kind == "slices":
        known = {"index": contract.slices.indices, "mm": contract.slices.positions_mm}.get(covariate.unit)
    if not known:
        return spread(covariate.low, covariate.high, count)
    ordered = sorted(map(float, known))
    at = np.linspace(0, len(ordered) - 1, count + 2)[1:-1] if count == 1 else np.linspace(0, len(ordered) - 1, count)
    return tuple(dict.fromkeys(ordered[i] for i in np.rint(at).astype(int)))


def choose(
    schema: Schema,
    contract: Contract | None,
    scales: Sequence[float],
    scale: float,
    most: int,
    *,
    given: Mapping[str, Sequence[Any]] | None = None,
    given_scales: Sequence[float] = (),
    seeds: Sequence[int] = (0,),
) -> Axes:
    """Sliders with at most `most` pictures: all that is given, and of the rest what fits.

    given: values of covariates. scales: those of the config, used without given_scales; scale: the one to keep. Of
    what is not given the numbers beside the target lose values first and are left out last (of slices the middle one
    stays); then the target loses some. Raises InputError where that is not enough: it names what to reduce.
    """
    given, roles = dict(given or {}), Roles.of(schema)
    counts = {c.name: NUMBERS for c in roles.numeric if c.name not in given}
    default_scales = sorted({*map(float, scales), float(scale)})
    thinner = [default_scales, sorted({1.0, float(scale)}), [float(scale)]]
    if given_scales:
        thinner = [sorted(set(map(float, given_scales)))]

    def made() -> Axes:
        found, left_out = [], []
        for covariate in schema.covariates:
            name, unit = covariate.name, getattr(covariate, "unit", "")
            if name in given:
                words = isinstance(covariate, Categorical)
                values = tuple(dict.fromkeys(given[name]) if words else sorted(set(given[name])))
            elif isinstance(covariate, Categorical):
                values = covariate.values
            elif counts[name] == 1 and covariate is not roles.position:
                left_out.append(name)
                continue
            else:
                values = numbers_of(covariate, contract, counts[name])
            found.append(Axis(name, values, unit))
        return Axes(
            tuple(found), Axis(SCALE, tuple(thinner[0])), Axis(SEED, tuple(dict.fromkeys(seeds))), tuple(left_out)
        )

    target = roles.target.name if roles.target else ""
    while (axes := made()).count > most:
        longest = {name: n for name, n in counts.items() if n > 1 and name != target}
        name = max(reversed(longest), key=longest.__getitem__) if longest else ""
        if len(thinner) > 1 and len(thinner[0]) > longest.get(name, 0):
            thinner.pop(0)
        elif name:
            counts[name] = _FEWER[counts[name]]
        elif counts.get(target, 1) > 3:
            counts[target] = _FEWER[counts[target]]
        else:
            raise InputError("explore", "pictures", f"{axes.text()} = {axes.count}", f"at most {most}: {_advice(axes)}")
    return axes


def _advice(axes: Axes) -> str:
    longest = max(axes.all, key=len)
    option = {SCALE: "fewer --scales", SEED: "fewer --seeds"}
    fewer = option.get(longest.name, f"fewer values of {longest.name} (--set {longest.name}=A,B,C)")
    return f"{fewer}, or --limit {axes.count}"
