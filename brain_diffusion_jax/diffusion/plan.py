"""What a sweep consists of: sampling configurations, their names on disk, and the programs that compute them.

Axes that only change numbers (guidance scale and options, eta, seed) run together under one vmap; sampler,
steps, spacing, guidance rule and model make a program of their own. Nothing here touches files: skip the
configurations whose `key` is already there and the sweep resumes.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
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

Options = tuple[tuple[str, Any], ...]


# Sweeps of 0.1 are found again on disk by a hash over these names.
_HASHED_AS = {"sampler_options": "sampler_knobs", "guidance_options": "guidance_knobs"}


@dataclass(frozen=True)
class SamplingConfig:
    """One sampling configuration: all that decides a sample besides the network and the condition.

    guidance_scale: 1 is off; a tuple is one scale a covariate (rule per_covariate). model: which parameters, e.g.
    an EMA length; "" for the only ones. sampler_options, guidance_options: (name, value) pairs, kept sorted.
    Raises InputError for a name that is not registered, an option that does not exist or is outside its limits.
    """

    sampler: str = "ddim"
    num_steps: int = 50
    spacing: str = "trailing"
    guidance: str = "cfg"
    guidance_scale: float | tuple[float, ...] = 1.0
    seed: int = 0
    model: str = ""
    sampler_options: Options = ()
    guidance_options: Options = ()

    def __post_init__(self) -> None:
        for name in ("sampler_options", "guidance_options"):
            object.__setattr__(self, name, tuple(sorted(getattr(self, name))))
        check_seed(self.seed, "sample")
        check_scales([self.guidance_scale])
        samplers.get(self.sampler, **dict(self.sampler_options))
        guidance.check_options(self.guidance, dict(self.guidance_options))
        if self.spacing not in (known := (*levels.names(), *levels.PAIRED)):
            raise InputError("sweep", "spacing", self.spacing, nearest(self.spacing, known))
        if self.num_steps < 1:
            raise InputError("sweep", "num_steps", self.num_steps, "at least 1")
        options = dict(self.guidance_options)
        if not options.get("low", 0.0) <= options.get("high", float("inf")):
            raise InputError("sweep", "interval", (options.get("low"), options.get("high")), "low <= high")

    @property
    def program(self) -> tuple[Any, ...]:
        """What configurations must share to run in one compiled call."""
        names = tuple(k for k, _ in self.sampler_options), tuple(k for k, _ in self.guidance_options)
        return (self.model, self.sampler, self.num_steps, self.spacing, self.guidance, self._compiled_in, *names)

    @property
    def _compiled_in(self) -> Options:
        static = samplers.options_of(self.sampler, static=True)
        return tuple((k, v) for k, v in self.sampler_options if k in static)

    def key(self, fingerprint: str = "") -> str:
        """16 hex digits that name this configuration on disk; fingerprint: of the model and the conditions."""
        text = json.dumps([fingerprint, self.to_json()], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def to_json(self) -> dict[str, Any]:
        """All fields, by the names that sweeps of 0.1 gave them."""
        return {_HASHED_AS.get(name, name): value for name, value in asdict(self).items()}

    def folder_name(self) -> str:
        """Names this configuration's folder, such as ddim-20_cfg-3_seed-0; what is not as usual follows."""
        scale = "x".join(_short(w) for w in np.atleast_1d(self.guidance_scale).tolist())
        parts = [f"{self.sampler}-{self.num_steps}", f"{self.guidance}-{scale}", f"seed-{self.seed}"]
        parts += [] if self.spacing == "trailing" else [self.spacing]
        parts += [f"{name}-{_short(value)}" for name, value in (*self.sampler_options, *self.guidance_options)]
        parts += [self.model.replace("=", "-")] if self.model else []
        name = "_".join(parts)
        safe = re.sub(r"[^A-Za-z0-9_.+-]", "-", name)[:150]
        return safe if safe == name else f"{safe}_{self.key()}"

    def label(self) -> str:
        """A short readable name."""
        options = "".join(f" {k}={v}" for k, v in (*self.sampler_options, *self.guidance_options))
        model = f" {self.model}" if self.model else ""
        scale = f"{self.guidance} w={self.guidance_scale}"
        return f"{self.sampler} {self.num_steps} {self.spacing} {scale} seed={self.seed}{options}{model}"


def _short(value: Any) -> str:
    """3.0 as 3; other numbers to their last digit, so that no two share a name."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


_FIELDS = ("sampler", "num_steps", "spacing", "guidance", "guidance_scale", "seed", "model")


def sampling_configs(axes: Mapping[str, Sequence[Any]]) -> tuple[SamplingConfig, ...]:
    """The product of the axes, without doubles, ordered so that those of one program are neighbours.

    Axes: fields of SamplingConfig; "eta", "rescale" and any other option by name; "interval" as (low, high) pairs
    in sigma/alpha. An option that the sampler and the rule of a configuration do not have does not multiply it;
    an option that none of them has raises InputError.
    """
    used: set[str] = set()
    unique: dict[SamplingConfig, None] = {}
    for values in itertools.product(*axes.values()):
        setting = dict(zip(axes, values, strict=True))
        fields = {name: setting.pop(name) for name in _FIELDS if name in setting}
        known = {
            "sampler_options": samplers.options_of(fields.get("sampler", "ddim")),
            "guidance_options": guidance.options_of(fields.get("guidance", "cfg")),
        }
        used |= {name for name in setting if name in known["sampler_options"] or name in known["guidance_options"]}
        if "interval" in setting and {"low", "high"} <= set(known["guidance_options"]):
            fields["guidance_options"] = tuple(zip(("low", "high"), setting.pop("interval"), strict=True))
            used.add("interval")
        for place, names in known.items():
            extra = tuple((k, v) for k, v in setting.items() if k in names)
            fields[place] = (*fields.get(place, ()), *extra)
        unique[SamplingConfig(**fields)] = None
    unused = [name for name in axes if name not in _FIELDS and name not in used]
    if unused and unique:
        options = {*_FIELDS, "interval"} | {k for n in samplers.names() for k in samplers.options_of(n)}
        options |= {k for n in guidance.names() for k in guidance.options_of(n)}
        expected = f"an option of the samplers and rules chosen; {nearest(unused[0], options)}"
        raise InputError("sweep", "axis", unused[0], expected)
    return tuple(sorted(unique, key=lambda config: [str(part) for part in config.program]))


def programs(
    wanted: Iterable[SamplingConfig], finished: Collection[str] = (), fingerprint: str = ""
) -> list[tuple[SamplingConfig, ...]]:
    """Configurations grouped by program, without those whose key is among `finished`."""
    groups: dict[tuple[Any, ...], list[SamplingConfig]] = {}
    for config in wanted:
        if config.key(fingerprint) not in finished:
            groups.setdefault(config.program, []).append(config)
    return [tuple(group) for group in groups.values()]


def noise_keys(seed: int, batch: int, start: int | Sequence[int] = 0) -> Array:
    """One key a condition, from the seed and the condition's position: common to all configurations of a seed.

    start: position of the first condition, or those of all.
    """
    positions = start + np.arange(batch) if isinstance(start, int) else np.asarray(start)
    return jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(seed), positions.astype(np.uint32))


def run_configs(
    group: Sequence[SamplingConfig],
    denoise: DenoiseFn,
    schedule: DiscreteSchedule,
    condition: Condition,
    shape: tuple[int, ...],
    *,
    start: int | Sequence[int] = 0,
    fixed: Mapping[str, Any] | None = None,
    plain_apart: bool = False,
    **settings: Any,
) -> Float[Array, "s batch *spatial channels"]:
    """Samples of configurations that share a program. shape: [*spatial, channels] of one sample.

    start: position of the first condition, or those of all, so that parts of a long list get their own noise.
    fixed: options of the rule that are no numbers (weak, log_likelihood). plain_apart: configurations of cfg at scale
    1 run without the null branch, in a program of their own: less work for one more compilation. settings: chunk,
    memory_limit, devices, share_first of `sweep`. Raises InputError for configurations of several programs.
    """
    if len({config.program for config in group}) != 1:
        raise InputError("sweep", "configurations", [config.label() for config in group], "those of one program")
    plain = [config.guidance == "cfg" and config.guidance_scale == 1.0 for config in group]
    if plain_apart and any(plain) and not all(plain):
        apart = [[config for config, flag in zip(group, plain, strict=True) if flag is kind] for kind in (False, True)]
        arguments = (denoise, schedule, condition, shape)
        guided, off = (
            iter(run_configs(configs, *arguments, start=start, fixed=fixed, **settings)) for configs in apart
        )
        return jnp.stack([next(off if flag else guided) for flag in plain])
    config = group[0]
    batch = len(condition.values)
    path = levels.steps(schedule, config.num_steps, config.spacing)
    first = path if isinstance(path, Level) else path[0]
    seeds = [c.seed for c in group]
    if len(set(seeds)) == 1:
        key = noise_keys(seeds[0], batch, start)
        x_init = initial_noise(key, (batch, *shape), first)
    else:
        key = jnp.stack([noise_keys(seed, batch, start) for seed in seeds])
        x_init = jnp.stack([initial_noise(k, (batch, *shape), first) for k in key])
    compiled_in = dict(config._compiled_in)
    swept = [
        {name: np.asarray([dict(getattr(c, place))[name] for c in group]) for name, _ in getattr(config, place)}
        for place in ("sampler_options", "guidance_options")
    ]
    return sweep(
        denoise,
        samplers.get(config.sampler, **compiled_in),
        path,
        x_init,
        condition,
        key,
        None if all(plain) else [c.guidance_scale for c in group],
        rule=guidance.get(config.guidance),
        sampler_options={k: v for k, v in swept[0].items() if k not in compiled_in},
        guidance_options=swept[1],
        fixed=fixed,
        **settings,
    )


def network_calls(config: SamplingConfig, schedule: DiscreteSchedule) -> int:
    """Calls of the denoiser for one sample of a configuration, counted while its sampler runs on a stand-in."""
    count = 0

    def called() -> None:
        nonlocal count
        count += 1

    def denoise(x: Array, level: Level, condition: Condition | None) -> Prediction:
        jax.debug.callback(called)
        return Prediction(jnp.zeros_like(x), x)

    path = levels.steps(schedule, config.num_steps, config.spacing)
    method = samplers.get(config.sampler, **dict(config.sampler_options))
    jax.block_until_ready(run(method, denoise, jnp.ones((1, 1, 1)), path, None, jax.random.key(0)))
    jax.effects_barrier()
    return count


def within_calls(config: SamplingConfig, calls: int, schedule: DiscreteSchedule) -> SamplingConfig:
    """The configuration with as many steps as its sampler can make in `calls` network calls.

    Raises InputError where they are not enough for one step.
    """
    enough, beyond = 0, min(calls, schedule.num_steps) + 1
    while beyond - enough > 1:
        steps = (enough + beyond) // 2
        fits = network_calls(replace(config, num_steps=steps), schedule) <= calls
        enough, beyond = (steps, beyond) if fits else (enough, steps)
    if not enough:
        raise InputError("sweep", "calls", calls, f"enough for one step of {config.sampler}")
    return replace(config, num_steps=enough)
