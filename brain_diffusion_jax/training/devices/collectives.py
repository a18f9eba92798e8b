"""What a compiled program sends between devices, read from its optimised HLO text.

XLA writes one collective in several ways: plain, as -start and -done, on TPU as fusions that share a channel, and
a reduce-scatter as all-reduce with a slice in one fusion. Collectives in loops count as often as the loop runs; of
branches, of which a step takes one, those of the branch that sends most.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "ragged-all-to-all", "collective-permute")
_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{\s*$")
_INSTRUCTION = re.compile(r"^\s*(?:ROOT )?%?([\w.\-]+) = (.*?) ([\w\-]+)\((.*)$")
_COLLECTIVE = re.compile(rf"^({'|'.join(KINDS)})(-start)?$")
_CALLED = re.compile(r"(?:calls|to_apply|body|condition)=%?([\w.\-]+)")
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}|(?:true|false)_computation=%?([\w.\-]+)")
_ARRAY = re.compile(r"\b(pred|bf16|f8\w*|[a-z]\d+)\[([\d,]*)\]")
_WORK = ("convolution", "dot")
_Sent = dict[str, "Collective"]


@dataclass(frozen=True)
class Collective:
    """One collective of a step. devices: how many take part in it together.

    bytes: of the whole array (what is reduced, or what is there once it is gathered). times: how often a step does it;
    None: in a loop whose length the program does not tell.
    """

    kind: str
    bytes: int
    devices: int
    times: int | None = 1

    @property
    def link_bytes(self) -> int:
        """What leaves each device when a ring does it once: 2 (n-1)/n of an all-reduce's bytes, (n-1)/n of others'."""
        if self.kind == "collective-permute":
            return self.bytes
        share = self.bytes * (self.devices - 1) // max(self.devices, 1)
        return 2 * share if self.kind == "all-reduce" else share


@dataclass(frozen=True)
class Traffic:
    """Collectives of one kind among as many devices, together. Both bytes are those of a step.

    count: of operations in a step. unknown_times: how many of them stand in loops of unknown length (counted once).
    """

    kind: str
    devices: int
    count: int
    bytes: int
    link_bytes: int
    unknown_times: int = 0

    def to_json(self) -> dict[str, Any]:
        """The fields, as plain JSON values."""
        return asdict(self)


def traffic(found: Iterable[Collective]) -> list[Traffic]:
    """Sums over kind and number of devices; the largest first."""
    groups: dict[tuple[str, int], list[Collective]] = {}
    for one in found:
        groups.setdefault((one.kind, one.devices), []).append(one)
    sums = [
        Traffic(
            kind,
            devices,
            sum(one.times or 1 for one in group),
            sum(one.bytes * (one.times or 1) for one in group),
            sum(one.link_bytes * (one.times or 1) for one in group),
            sum(one.times is None for one in group),
        )
        for (kind, devices), group in groups.items()
    ]
    return sorted(sums, key=lambda t: -t.bytes)


@dataclass(frozen=True)
class _Instruction:
    name: str
    type: str
    opcode: str
    rest: str
    root: bool


class Program:
    """An optimised HLO module: its computations, and how often each of them runs in one call."""

    def __init__(self, text: str) -> None:
        self.computations: dict[str, list[_Instruction]] = {}
        self.entry = ""
        name = ""
        for line in text.splitlines():
            if header := _COMPUTATION.match(line):
                name = header[2]
                self.computations[name] = []
                self.entry = name if header[1] else self.entry
            elif name and (found := _INSTRUCTION.match(line)):
                root = line.lstrip().startswith("ROOT ")
                self.computations[name].append(_Instruction(found[1], found[2], found[3], found[4], root))
        devices = re.search(r"num_partitions=(\d+)", text[: text.find("\n")])
        replicas = re.search(r"replica_count=(\d+)", text[: text.find("\n")])
        self.devices = int(devices[1] if devices else 1) * int(replicas[1] if replicas else 1)
        self.times: dict[str, int | None] = {}
        self._walk(self.entry, 1)

    def _walk(self, name: str, times: int | None) -> None:
        seen = name in self.times
        before = self.times.get(name)
        if seen and (before is None or (times is not None and times <= before)):
            return
        self.times[name] = times
        for instruction in self.computations.get(name, []):
            for inner in [*_called(instruction), *_branches(instruction)]:
                self._walk(inner, _product(times, self._length(instruction)))

    def _length(self, loop: _Instruction) -> int | None:
        """How often a loop runs: as the compiler noted, or the bound of its counter, which starts at 0; else 1."""
        if loop.opcode != "while":
            return 1
        if known := re.search(r'known_trip_count[^\d}]*"?n"?[^\d}]*(\d+)', loop.rest):
            return int(known[1])
        condition = re.search(r"condition=%?([\w.\-]+)", loop.rest)
        inside = self.computations.get(condition[1], []) if condition else []
        counters = [i for i in inside if i.opcode == "constant" and re.match(r"[su]\d+\[\]", i.type)]
        bounds = {i.name: int(i.rest.split(")")[0]) for i in counters}
        for last in inside:
            if last.root and last.opcode == "compare" and "direction=LT" in last.rest:
                read = [n for n in re.findall(r"%([\w.\-]+)", last.rest.split(")")[0]) if n in bounds]
                return bounds[read[0]] if read else None
        return None

    def loops_hold_work(self) -> bool:
        """Whether convolutions or matrix products stand in loops, whose bodies XLA's cost analysis counts once."""
        return any(
            self.times[name] != 1 and any(i.opcode in _WORK for i in instructions)
            for name, instructions in self.computations.items()
            if name in self.times
        )

    def collectives(self) -> list[Collective]:
        """Every collective that a call runs, once each however the compiler cut it up."""
        return [c for c in self._sent(self.entry, {}).values() if c.devices > 1 and c.times != 0]

    def _sent(self, name: str, known: dict[str, _Sent]) -> _Sent:
        """Collectives of one call of a computation, by their channel. known: of computations seen before."""
        if name in known:
            return known[name]
        instructions = self.computations.get(name, [])
        found: _Sent = {}
        for one, kind, size in self._of_computation(instructions):
            channel = re.search(r"channel_id=(\d+)", one.rest)
            found[channel[1] if channel else f"{name} {one.name}"] = Collective(
                kind, size, _group(one.rest) or self.devices
            )
        for instruction in instructions:
            inside = [self._sent(called, known) for called in _called(instruction)]
            if branches := [self._sent(branch, known) for branch in _branches(instruction)]:
                inside.append(max(branches, key=_link_bytes))
            length = self._length(instruction)
            for key, sent in ((k, c) for calls in inside for k, c in calls.items()):
                times = _product(sent.times, length)
                before = found.get(key)
                if before is None or (before.times is not None and (times is None or times > before.times)):
                    found[key] = replace(sent, times=times)
        known[name] = found
        return found

    @staticmethod
    def _of_computation(instructions: list[_Instruction]) -> Iterator[tuple[_Instruction, str, int]]:
        slices = [i.rest for i in instructions if i.root and i.opcode == "dynamic-slice"]
        for one in instructions:
            if not (kind := _COLLECTIVE.match(one.opcode)):
                continue
            sizes = [_array_bytes(*array) for array in _ARRAY.findall(one.type)]
            if kind[2] and kind[1] in ("all-gather", "collective-permute"):  # (operand, result, ...)
                sizes = sizes[1:2] if kind[1] == "collective-permute" else sizes[len(sizes) // 2 :]
            size, name = sum(sizes), kind[1]
            if name == "reduce-scatter":
                size *= _group(one.rest) or 1
            elif name == "all-reduce" and any(re.match(rf"%?{re.escape(one.name)}\b", rest) for rest in slices):
                name = "reduce-scatter"
            yield one, name, size


def _called(instruction: _Instruction) -> list[str]:
    return _CALLED.findall(instruction.rest)


def _branches(instruction: _Instruction) -> list[str]:
    """Computations of which one is run."""
    found = [name for several, one in _BRANCHES.findall(instruction.rest) for name in (several or one).split(",")]
    return [name.strip().lstrip("%") for name in found]


def _product(times: int | None, length: int | None) -> int | None:
    return None if times is None or length is None else times * length


def _link_bytes(sent: _Sent) -> int:
    return sum(one.link_bytes * (one.times or 1) for one in sent.values())


def _array_bytes(dtype: str, dims: str) -> int:
    digits = re.search(r"\d+", dtype)
    bits = 8 if dtype == "pred" or digits is None else int(digits[0])
    return math.ceil(math.prod(int(n) for n in dims.split(",") if n) * bits / 8)


def _group(rest: str) -> int:
    """How many devices take part together, from replica_groups in any of XLA's three ways to write it; 0: all."""
    if found := re.search(r"replica_groups=\{\{([\d,]+)\}", rest):
        return found[1].count(",") + 1
    if found := re.search(r"replica_groups=\[\d+,(\d+)\]<=", rest):
        return int(found[1])
    if found := re.search(r"replica_groups=mesh\[([^\]]*)\][^{]*\{([^}]*)\}", rest):
        sizes = {name: int(size) for name, size in re.findall(r"'(\w+)'=(\d+)", found[1])}
        parts = re.findall(r"'(\w+)'(?::\(\d+\)(\d+))?", found[2])
        return math.prod(int(part) if part else sizes[name] for name, part in parts)
    if found := re.search(r"source_target_pairs=\{(.*?)\}\}", rest):
        return len(set(re.findall(r"\d+", found[1])))
    return 0
