"""Guidance: transforms of a DenoiseFn, by name. w = 1 is off and w = 0 unconditional, everywhere.

A rule is a function (denoise, scale, **knobs) -> DenoiseFn; `register` adds one from outside the package.
Two rules are no mixtures of predictions, and their scale is a strength with 0 for off:
classifier_gradient and dynamic_threshold.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable

from brain_diffusion_jax.array_types import DenoiseFn
from brain_diffusion_jax.diffusion.guidance.classifier_free import (
    both,
    cfg_plus_plus,
    classifier_free,
    interval,
    null_of,
    rescaled,
    together,
    towards,
)
from brain_diffusion_jax.diffusion.guidance.composed import autoguidance, per_covariate
from brain_diffusion_jax.diffusion.guidance.pictures import classifier_gradient, dynamic_threshold, gaussian_judge
from brain_diffusion_jax.diffusion.guidance.projected import projected
from brain_diffusion_jax.diffusion.prediction import under_clipping
from brain_diffusion_jax.errors import InputError, nearest

Rule = Callable[..., DenoiseFn]

_BUILT_IN: dict[str, Rule] = {
    "autoguidance": autoguidance,
    "cfg": classifier_free,
    "cfg_plus_plus": cfg_plus_plus,
    "classifier_gradient": classifier_gradient,
    "dynamic_threshold": dynamic_threshold,
    "interval": interval,
    "per_covariate": per_covariate,
    "projected": projected,
    "rescaled": rescaled,
}
_REGISTERED: dict[str, Rule] = {}


def names() -> tuple[str, ...]:
    """Every rule that `get` knows."""
    return tuple(sorted({*_BUILT_IN, *_REGISTERED}))


def register(name: str, rule: Rule) -> None:
    """Make `get(name)` return rule, put under clipping; a taken name is refused."""
    taken = _REGISTERED.get(name)
    if name in names() and getattr(taken, "__wrapped__", None) is not rule:
        raise InputError("guidance.register", "name", name, "a name not taken yet")
    if taken is None:
        _REGISTERED[name] = under_clipping(rule)


def get(name: str) -> Rule:
    """The rule `name`, a function (denoise, scale, **knobs) -> DenoiseFn."""
    if name not in names():
        raise InputError("sample", "guidance", name, f"one of {', '.join(names())} ({nearest(name, names())})")
    return {**_BUILT_IN, **_REGISTERED}[name]


def knobs_of(name: str) -> tuple[str, ...]:
    """The names of a rule's knobs besides denoise and scale."""
    return tuple(inspect.signature(get(name)).parameters)[2:]


def check_knobs(name: str, knobs: dict[str, object]) -> None:
    """InputError for a knob that the rule does not have."""
    known = knobs_of(name)
    for knob in knobs:
        if knob not in known:
            raise InputError(f"guidance {name}", "knob", knob, f"one of {', '.join(known) or '(it has none)'}")


__all__ = [
    "Rule",
    "autoguidance",
    "both",
    "cfg_plus_plus",
    "check_knobs",
    "classifier_free",
    "classifier_gradient",
    "dynamic_threshold",
    "gaussian_judge",
    "get",
    "interval",
    "knobs_of",
    "names",
    "null_of",
    "per_covariate",
    "projected",
    "register",
    "rescaled",
    "together",
    "towards",
]
