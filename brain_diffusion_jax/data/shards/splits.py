"""Who is trained on: splits by person from a hash of the id, so that new people move nobody."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from brain_diffusion_jax.contract import Split
from brain_diffusion_jax.covariates import Categorical, Schema
from brain_diffusion_jax.data.sources.source import Entry
from brain_diffusion_jax.errors import InputError, require_one_of

NAMES = ("train", "validation", "test")
SLICE_WARNING = (
    "split.unit='slice': neighbouring slices of one person will stand in train, validation and test. "
    "This reproduces the split of the reference system (REFERENCES.md), but numbers on these splits measure memory of "
    "known heads: age errors and Frechet distances come out far too good and say nothing about new people."
)


@dataclass(frozen=True)
class SplitSpec:
    """unit: person, or slice (warned about). train + validation + test = 1; a fraction of 0 makes no split.

    stratify: names of covariates, such as ("age", "sex"), that every split should hold alike.
    """

    unit: str = "person"
    seed: int = 0
    train: float = 0.6
    validation: float = 0.2
    test: float = 0.2
    stratify: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "stratify", tuple(self.stratify))
        require_one_of(self.unit, ("person", "slice"), "split", "unit")
        fractions = [getattr(self, name) for name in NAMES]
        if min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-6:
            raise InputError("split", ", ".join(NAMES), fractions, "fractions >= 0 that sum to 1")
        if self.stratify and self.unit == "slice":
            raise InputError("split", "stratify", self.stratify, "() with split.unit=slice")

    def section(self) -> Split:
        """For Contract.split; says in words what a split by slice does."""
        return Split(**asdict(self), warning=SLICE_WARNING if self.unit == "slice" else None)


def uniform(seed: int, *words: object) -> float:
    """A number in [0, 1) that depends on the words and the seed only."""
    text = "\x1f".join(str(word) for word in (seed, *words))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64


def split_at(position: float, spec: SplitSpec) -> str:
    """The split that holds `position` in [0, 1) when train, validation, test follow each other."""
    edge = 0.0
    for name in NAMES:
        edge += getattr(spec, name)
        if position < edge - 1e-12:
            return name
    return next(name for name in reversed(NAMES) if getattr(spec, name) > 0)


def assign(person_ids: Iterable[str], spec: SplitSpec, strata: Mapping[str, Hashable] | None = None) -> dict[str, str]:
    """Split of each person.

    Without strata a person's split depends on their id and the seed alone: adding people moves
    nobody. With strata, people of a stratum are lined up by hash and cut at the fractions: splits are
    alike in the strata, and a newcomer moves at most the people at the two cuts of their stratum.
    """
    people = sorted(set(person_ids))
    if not strata:
        return {person: split_at(uniform(spec.seed, person), spec) for person in people}
    groups: dict[Hashable, list[str]] = defaultdict(list)
    for person in people:
        groups[strata[person]].append(person)
    result = {}
    for stratum, members in groups.items():
        members.sort(key=lambda person: uniform(spec.seed, person))
        # A random offset, or strata of one or two people would all land in train.
        offset = uniform(spec.seed, "stratum", stratum)
        for rank, person in enumerate(members):
            result[person] = split_at((rank + offset) / len(members), spec)
    return result


def split_entries(entries: Sequence[Entry], spec: SplitSpec, schema: Schema, where: object) -> dict[str, list[Entry]]:
    """split -> its entries, groups whole; with split.unit=slice every entry is in every split."""
    names = [name for name in NAMES if getattr(spec, name) > 0]
    if spec.unit == "slice":
        return {name: list(entries) for name in names}
    side = assign((entry.group for entry in entries), spec, _strata(entries, spec, schema))
    require_no_empty(side.values(), spec, where)
    return {name: [entry for entry in entries if side[entry.group] == name] for name in names}


def _strata(entries: Sequence[Entry], spec: SplitSpec, schema: Schema) -> dict[str, Hashable] | None:
    """Stratum of each group by its first entry: deciles of a continuous domain, the word of a category."""
    if not spec.stratify:
        return None
    strata: dict[str, Hashable] = {}
    for entry in entries:
        if entry.group in strata:
            continue
        key: list[object] = []
        for name in spec.stratify:
            covariate, value = schema[name], entry.conditions.get(name)
            if value is None or isinstance(covariate, Categorical):
                key.append(value)
            else:
                unit = (float(value) - covariate.low) / (covariate.high - covariate.low)
                key.append(int(np.clip(unit * 10, 0, 9)))
        strata[entry.group] = tuple(key)
    return strata


def assign_slice(person: str, scan: str, index: int, spec: SplitSpec) -> str:
    """Split of one slice for split.unit='slice'; what it does to the numbers is in SLICE_WARNING."""
    return split_at(uniform(spec.seed, person, scan, index), spec)


def require_no_empty(members: Iterable[str], spec: SplitSpec, where: object = "split") -> Counter[str]:
    """Count the members of each split; raises InputError where a split with a fraction above 0 is empty."""
    counts = Counter(members)
    for name in NAMES:
        if getattr(spec, name) > 0 and not counts[name]:
            found = f"nobody ({sum(counts.values())} in all, fraction {getattr(spec, name):g})"
            expected = f"somebody in each split; add people, change split.seed, or set split.{name}=0"
            raise InputError(where, name, found, expected)
    return counts
