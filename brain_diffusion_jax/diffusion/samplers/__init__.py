"""Samplers by name. `register` adds one from outside the package."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable
from typing import Any

from brain_diffusion_jax.diffusion.samplers.base import Sampler
from brain_diffusion_jax.errors import InputError, nearest

# name: (module here, class)
_BUILT_IN: dict[str, tuple[str, str]] = {
    "ddpm": ("ddpm", "DDPM"),
    "ddim": ("ddim", "DDIM"),
    "deis": ("deis", "DEIS"),
    "dpm_solver_2m": ("dpm_solver", "DPMSolver2M"),
    "dpm_solver_2s": ("dpm_solver", "DPMSolver2S"),
    "dpm_solver_sde_2m": ("dpm_solver_sde", "DPMSolverSDE2M"),
    "dpm_solver_sde_3m": ("dpm_solver_sde", "DPMSolverSDE3M"),
    "euler": ("euler", "Euler"),
    "euler_ancestral": ("euler", "EulerAncestral"),
    "flow_euler": ("flow", "FlowEuler"),
    "flow_midpoint": ("flow", "FlowMidpoint"),
    "heun": ("heun", "Heun"),
    "plms": ("pndm", "plms"),
    "pndm": ("pndm", "PNDM"),
    "restart": ("restart", "Restart"),
    "unipc": ("unipc", "UniPC"),
}
_REGISTERED: dict[str, Callable[..., Sampler]] = {}


def names() -> tuple[str, ...]:
    """Every sampler that `get` knows."""
    return tuple(sorted({*_BUILT_IN, *_REGISTERED}))


def register(name: str, factory: Callable[..., Sampler]) -> None:
    """Make `get(name, **knobs)` return factory(**knobs); a taken name is refused."""
    if name in names() and _REGISTERED.get(name) is not factory:
        raise InputError("samplers.register", "name", name, "a name not taken yet")
    _REGISTERED[name] = factory


def factory(name: str) -> Callable[..., Sampler]:
    """The class of a sampler."""
    if name in _REGISTERED:
        return _REGISTERED[name]
    if name not in _BUILT_IN:
        raise InputError("sample", "sampler", name, f"one of {', '.join(names())} ({nearest(name, names())})")
    module, cls = _BUILT_IN[name]
    return getattr(importlib.import_module(f"{__name__}.{module}"), cls)


def knobs_of(name: str) -> tuple[str, ...]:
    """The names of a sampler's knobs; empty for one that is no dataclass."""
    cls = factory(name)
    return tuple(f.name for f in dataclasses.fields(cls)) if dataclasses.is_dataclass(cls) else ()


def static_knobs(name: str) -> tuple[str, ...]:
    """The knobs that are compiled in, such as an order; the others may be traced and swept."""
    cls = factory(name)
    known: tuple[dataclasses.Field, ...] = dataclasses.fields(cls) if dataclasses.is_dataclass(cls) else ()
    return tuple(f.name for f in known if f.metadata.get("static"))


def get(name: str, **knobs: Any) -> Sampler:
    """The sampler `name` with its knobs, e.g. get("ddim", eta=0.5).

    Raises InputError for an unknown sampler or knob, or a knob outside its limits.
    """
    make = factory(name)
    if dataclasses.is_dataclass(make):
        for knob in knobs:
            if knob not in knobs_of(name):
                raise InputError(
                    f"sampler {name}", "knob", knob, f"one of {', '.join(knobs_of(name)) or '(it has none)'}"
                )
    for knob, (low, high) in getattr(make, "LIMITS", {}).items():
        value = knobs.get(knob)
        if isinstance(value, int | float) and not low <= value <= high:  # NaN fails too
            raise InputError(f"sampler {name}", knob, value, f"{low:g} to {high:g}")
    low_knob, high_knob = getattr(make, "INTERVAL", ("", ""))
    low_value, high_value = knobs.get(low_knob), knobs.get(high_knob)
    if isinstance(low_value, int | float) and isinstance(high_value, int | float) and not low_value < high_value:
        raise InputError(f"sampler {name}", f"{low_knob}, {high_knob}", (low_value, high_value), "the lower one first")
    for knob, allowed in getattr(make, "CHOICES", {}).items():
        if knob in knobs and knobs[knob] not in allowed:
            raise InputError(f"sampler {name}", knob, knobs[knob], f"one of {', '.join(map(str, allowed))}")
    return make(**knobs)
