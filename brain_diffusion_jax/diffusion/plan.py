"""What a sweep consists of: cells, their names on disk, and the programs that compute them.

Axes that only change numbers (guidance scale and knobs, eta, seed) run together under one vmap; sampler,
steps, spacing, guidance rule and model make a program of their own. Nothing here touches files: skip the
cells whose `key` is already there and the sweep resumes.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from brain_diffusion_jax.array_types import Condition, DenoiseFn, Level, Prediction
from brain_diffusion_jax.diffusion import guidance, levels, samplers
from brain_diffusion_jax.diffusion.samplers.base import initial_noise, run
from brain_diffusion_jax.diffusion.schedules import DiscreteSchedule
from brain_diffusion_jax.diffusion.sweep import check_scales, sweep
from brain_diffusion_jax.errors import InputError, nearest
from brain_diffusion_jax.seeds import check_seed

Knobs = tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class Cell:
    """One setting of a sweep. model: which parameters, e.g. an EMA length; "" for the only ones."""

    sampler: str = "ddim"
    num_steps: int = 50
    spacing: str = "trailing"
    guidance: str = "cfg"
    guidance_scale: float | tuple[float, ...] = 1.0
    seed: int = 0
    model: str = ""
    sampler_knobs: Knobs = ()
    guidance_knobs: Knobs = ()

    def __post_init__(self) -> None:
        for name in ("sampler_knobs", "guidance_knobs"):
            object.__setattr__(self, name, tuple(sorted(getattr(self, name))))
        check_seed(self.seed, "sample")
        check_scales([self.guidance_scale])
        samplers.get(self.sampler, **dict(self.sampler_knobs))
        guidance.check_knobs(self.guidance, dict(self.guidance_knobs))
        if self.spacing not in levels.names():
            raise InputError("sweep", "spacing", self.spacing, nearest(self.spacing, levels.names()))
        if self.num_steps < 1:
            raise InputError("sweep", "num_steps", self.num_steps, "at least 1")
        knobs = dict(self.guidance_knobs)
        if not knobs.get("low", 0.0) <= knobs.get("high", float("inf")):
            raise InputError("sweep", "interval", (knobs.get("low"), knobs.get("high")), "low <= high")

    @property
    def program(self) -> tuple[Any, ...]:
        """What cells must share to run in one compiled call."""
        names = tuple(k for k, _ in self.sampler_knobs), tuple(k for k, _ in self.guidance_knobs)
        return (self.model, self.sampler, self.num_steps, self.spacing, self.guidance, self._compiled_in, *names)

    @property
    def _compiled_in(self) -> Knobs:
        static = samplers.static_knobs(self.sampler)
        return tuple((k, v) for k, v in self.sampler_knobs if k in static)

    def key(self, fingerprint: str = "") -> str:
        """16 hex digits that name this cell; fingerprint: of the model and the conditions."""
        text = json.dumps([fingerprint, asdict(self)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def label(self) -> str:
        """A short readable name."""
        knobs = "".join(f" {k}={v}" for k, v in (*self.sampler_knobs, *self.guidance_knobs))
        model = f" {self.model}" if self.model else ""
        scale = f"{self.guidance} w={self.guidance_scale}"
        return f"{self.sampler} {self.num_steps} {self.spacing} {scale} seed={self.seed}{knobs}{model}"


_FIELDS = ("sampler", "num_steps", "spacing", "guidance", "guidance_scale", "seed", "model")


def cells(axes: Mapping[str, Sequence[Any]]) -> tuple[Cell, ...]:
    """The product of the axes, without doubles, ordered so that cells of one program are neighbours.

    Axes: fields of Cell; "eta", "rescale" and any other knob by name; "interval" as (low, high) pairs in
    sigma/alpha. A knob that a cell's sampler or guidance rule does not have does not multiply it, but a knob
    that none of them has is refused.
    """
    used: set[str] = set()
    found: dict[Cell, None] = {}
    for values in itertools.product(*axes.values()):
        setting = dict(zip(axes, values, strict=True))
        fields = {name: setting.pop(name) for name in _FIELDS if name in setting}
        known = {
            "sampler_knobs": samplers.knobs_of(fields.get("sampler", "ddim")),
            "guidance_knobs": guidance.knobs_of(fields.get("guidance", "cfg")),
        }
        used |= {name for name in setting if name in known["sampler_knobs"] or name in known["guidance_knobs"]}
        if "interval" in setting and {"low", "high"} <= set(known["guidance_knobs"]):
            fields["guidance_knobs"] = tuple(zip(("low", "high"), setting.pop("interval"), strict=True))
            used.add("interval")
        for place, names in known.items():
            extra = tuple((k, v) for k, v in setting.items() if k in names)
            fields[place] = (*fields.get(place, ()), *extra)
        found[Cell(**fields)] = None
    unused = [name for name in axes if name not in _FIELDS and name not in used]
    if unused and found:
        knobs = {*_FIELDS, "interval"} | {k for n in samplers.names() for k in samplers.knobs_of(n)}
        knobs |= {k for n in guidance.names() for k in guidance.knobs_of(n)}
        expected = f"a knob of the samplers and rules chosen; {nearest(unused[0], knobs)}"
        raise InputError("sweep", "axis", unused[0], expected)
    return tuple(sorted(found, key=lambda cell: [str(part) for part in cell.program]))


def programs(wanted: Iterable[Cell], finished: Collection[str] = (), fingerprint: str = "") -> list[tuple[Cell, ...]]:
    """Cells grouped by program, without those whose key is among `finished`."""
    groups: dict[tuple[Any, ...], list[Cell]] = {}
    for cell in wanted:
        if cell.key(fingerprint) not in finished:
            groups.setdefault(cell.program, []).append(cell)
    return [tuple(group) for group in groups.values()]


def noise_keys(seed: int, batch: int, start: int = 0) -> Array:
    """One key a condition, from the seed and the condition's position: common to all cells of a seed."""
    return jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(seed), start + jnp.arange(batch))


def run_cells(
    group: Sequence[Cell],
    denoise: DenoiseFn,
    schedule: DiscreteSchedule,
    condition: Condition,
    shape: tuple[int, ...],
    *,
    start: int = 0,
    fixed: Mapping[str, Any] | None = None,
    plain_apart: bool = False,
    **settings: Any,
) -> Float[Array, "s batch *spatial channels"]:
    """Samples of cells that share a program. shape: [*spatial, channels] of one sample.

    start: position of the first condition, so that parts of a long list get their own noise. fixed: knobs
    of the rule that are no numbers (weak, judge). plain_apart: cells of cfg at scale 1 run without the null branch,
    in a program of their own: less work for one more compilation. settings: chunk, memory_limit, devices,
    share_first of `sweep`.
    """
    if len({cell.program for cell in group}) != 1:
        raise InputError("sweep", "cells", [cell.label() for cell in group], "cells of one program")
    plain = [cell.guidance == "cfg" and cell.guidance_scale == 1.0 for cell in group]
    if plain_apart and any(plain) and not all(plain):
        apart = [[cell for cell, flag in zip(group, plain, strict=True) if flag is kind] for kind in (False, True)]
        arguments = (denoise, schedule, condition, shape)
        guided, off = (iter(run_cells(cells, *arguments, start=start, fixed=fixed, **settings)) for cells in apart)
        return jnp.stack([next(off if flag else guided) for flag in plain])
    cell = group[0]
    batch = len(condition.values)
    path = levels.select(schedule, cell.num_steps, cell.spacing)
    seeds = [c.seed for c in group]
    if len(set(seeds)) == 1:
        key = noise_keys(seeds[0], batch, start)
        x_init = initial_noise(key, (batch, *shape), path)
    else:
        key = jnp.stack([noise_keys(seed, batch, start) for seed in seeds])
        x_init = jnp.stack([initial_noise(k, (batch, *shape), path) for k in key])
    compiled_in = dict(cell._compiled_in)
    swept = [
        {name: np.asarray([dict(getattr(c, place))[name] for c in group]) for name, _ in getattr(cell, place)}
        for place in ("sampler_knobs", "guidance_knobs")
    ]
    return sweep(
        denoise,
        samplers.get(cell.sampler, **compiled_in),
        path,
        x_init,
        condition,
        key,
        None if all(plain) else [c.guidance_scale for c in group],
        rule=guidance.get(cell.guidance),
        sampler_knobs={k: v for k, v in swept[0].items() if k not in compiled_in},
        knobs=swept[1],
        fixed=fixed,
        **settings,
    )


def network_calls(cell: Cell, schedule: DiscreteSchedule) -> int:
    """How often the denoiser is called for one sample of a cell, counted while its sampler really runs."""
    count = 0

    def called() -> None:
        nonlocal count
        count += 1

    def denoise(x: Array, level: Level, condition: Condition | None) -> Prediction:
        jax.debug.callback(called)
        return Prediction(jnp.zeros_like(x), x)

    path = levels.select(schedule, cell.num_steps, cell.spacing)
    method = samplers.get(cell.sampler, **dict(cell.sampler_knobs))
    jax.block_until_ready(run(method, denoise, jnp.ones((1, 1, 1)), path, None, jax.random.key(0)))
    jax.effects_barrier()
    return count


def within_calls(cell: Cell, calls: int, schedule: DiscreteSchedule) -> Cell:
    """The cell with as many steps as its sampler can make in `calls` network calls; InputError if not even one."""
    enough, beyond = 0, min(calls, schedule.num_steps) + 1
    while beyond - enough > 1:
        steps = (enough + beyond) // 2
        fits = network_calls(replace(cell, num_steps=steps), schedule) <= calls
        enough, beyond = (steps, beyond) if fits else (enough, steps)
    if not enough:
        raise InputError("sweep", "calls", calls, f"enough for one step of {cell.sampler}")
    return replace(cell, num_steps=enough)
