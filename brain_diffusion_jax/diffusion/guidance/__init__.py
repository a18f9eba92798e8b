"""Guidance: transforms of a DenoiseFn, by name. w = 1 is off and w = 0 unconditional, everywhere.

A rule is a function (denoise, scale, **options) -> DenoiseFn; `register` adds one from outside the package.
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
from brain_diffusion_jax.diffusion.guidance.predicted_image import (
    classifier_gradient,
    dynamic_threshold,
    gaussian_log_likelihood,
)
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
    """The names of rules that `get` accepts."""
    return tuple(sorted({*_BUILT_IN, *_REGISTERED}))


def register(name: str, rule: Rule) -> None:
    """Make `get(name)` return rule, put under clipping; a taken name is refused."""
    taken = _REGISTERED.get(name)
    if name in names() and getattr(taken, "__wrapped__", None) is not rule:
        raise InputError("guidance.register", "name", name, "a name not taken yet")
    if taken is None:
        _REGISTERED[name] = under_clipping(rule)


def get(name: str) -> Rule:
    """The rule `name`, a function (denoise, scale, **options) -> DenoiseFn; InputError for an unknown name."""
    if name not in names():
        raise InputError("sample", "guidance", name, f"one of {', '.join(names())} ({nearest(name, names())})")
    return {**_BUILT_IN, **_REGISTERED}[name]


def options_of(name: str) -> tuple[str, ...]:
    """The names of a rule's options besides denoise and scale."""
    return tuple(inspect.signature(get(name)).parameters)[2:]


def check_options(name: str, options: dict[str, object]) -> None:
    """InputError for an option that the rule does not have."""
    known = options_of(name)
    for option in options:
        if option not in known:
            raise InputError(f"guidance {name}", "option", option, f"one of {', '.join(known) or '(it has none)'}")


__all__ = [
    "Rule",
    "autoguidance",
    "both",
    "cfg_plus_plus",
    "check_options",
    "classifier_free",
    "classifier_gradient",
    "dynamic_threshold",
    "gaussian_log_likelihood",
    "get",
    "interval",
    "names",
    "null_of",
    "options_of",
    "per_covariate",
    "projected",
    "register",
    "rescaled",
    "together",
    "towards",
]
