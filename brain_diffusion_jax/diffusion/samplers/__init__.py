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
    "dpm_solver_2m": ("dpm_solver", "dpm_solver_2m"),
    "dpm_solver_2s": ("dpm_solver", "DPMSolver2S"),
    "dpm_solver_sde_2m": ("dpm_solver", "DPMSolver2M"),
    "dpm_solver_sde_3m": ("dpm_solver", "DPMSolver3M"),
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
    """The names of samplers that `get` accepts."""
    return tuple(sorted({*_BUILT_IN, *_REGISTERED}))


def register(name: str, factory: Callable[..., Sampler]) -> None:
    """Make `get(name, **options)` return factory(**options); a taken name is refused."""
    if name in names() and _REGISTERED.get(name) is not factory:
        raise InputError("samplers.register", "name", name, "a name not taken yet")
    _REGISTERED[name] = factory


def factory(name: str) -> Callable[..., Sampler]:
    """The class, or the registered factory, of a sampler; InputError for an unknown name."""
    if name in _REGISTERED:
        return _REGISTERED[name]
    if name not in _BUILT_IN:
        raise InputError("sample", "sampler", name, f"one of {', '.join(names())} ({nearest(name, names())})")
    module, cls = _BUILT_IN[name]
    return getattr(importlib.import_module(f"{__name__}.{module}"), cls)


def options_of(name: str, *, static: bool = False) -> tuple[str, ...]:
    """The names of a sampler's options; empty for one that is no dataclass.

    static: only those that are compiled in, such as an order; the others may be traced and swept.
    """
    cls = factory(name)
    known: tuple[dataclasses.Field, ...] = dataclasses.fields(cls) if dataclasses.is_dataclass(cls) else ()
    return tuple(f.name for f in known if f.metadata.get("static") or not static)


def get(name: str, **options: Any) -> Sampler:
    """The sampler `name` with its options, e.g. get("ddim", eta=0.5).

    Raises InputError for an unknown sampler or option, or an option outside its limits.
    """
    make = factory(name)
    if dataclasses.is_dataclass(make) or name in _BUILT_IN:
        for option in options:
            if option not in options_of(name):
                known = ", ".join(options_of(name)) or "(it has none)"
                raise InputError(f"sampler {name}", "option", option, f"one of {known}")
    for option, (low, high) in getattr(make, "LIMITS", {}).items():
        value = options.get(option)
        if isinstance(value, int | float) and not low <= value <= high:  # NaN fails too
            raise InputError(f"sampler {name}", option, value, f"{low:g} to {high:g}")
    low_name, high_name = getattr(make, "INTERVAL", ("", ""))
    low_value, high_value = options.get(low_name), options.get(high_name)
    if isinstance(low_value, int | float) and isinstance(high_value, int | float) and not low_value < high_value:
        raise InputError(f"sampler {name}", f"{low_name}, {high_name}", (low_value, high_value), "the lower one first")
    for option, allowed in getattr(make, "CHOICES", {}).items():
        if option in options and options[option] not in allowed:
            raise InputError(f"sampler {name}", option, options[option], f"one of {', '.join(map(str, allowed))}")
    return make(**options)
