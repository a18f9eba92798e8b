"""What a config holds before anybody changes it: all settings, those of one kind, those of one command."""

from __future__ import annotations

import copy
from importlib import import_module
from typing import Any

from ml_collections import ConfigDict

from brain_diffusion_jax.config import derive
from brain_diffusion_jax.errors import InputError, nearest

# TASKS of this module: kind -> package, whose `config.py` names the dataclass CONFIG. By name, as are the parts
# below, since kinds and data stand above this package.
_KINDS = "brain_diffusion_jax.tasks.spec"
PREPARE, COHORT = "prepare", "cohort"
# The kinds of 0.1, whose settings a config file that names no kind begins with.
_FIRST = ("diffusion", "age", "class", "gan")
# What commands read that do not train.
_PARTS = {PREPARE: "PrepareConfig", COHORT: "CohortConfig"}


def config_class(name: str) -> type[Any]:
    """The dataclass of a kind, or of a part of a config that a command reads."""
    if name in _PARTS:
        return getattr(import_module("brain_diffusion_jax.data.prepare_config"), _PARTS[name])  # type: ignore[no-any-return]
    kinds = _kinds()
    if name not in kinds:
        raise InputError("config", "kind", name, nearest(name, kinds))
    return import_module(f"{kinds[name]}.config").CONFIG  # type: ignore[no-any-return]


def _kinds() -> dict[str, str]:
    return import_module(_KINDS).TASKS  # type: ignore[no-any-return]


def base_config(kind: str = "") -> ConfigDict:
    """What `prepare` and a model of a kind read, with its defaults; "" gives the settings of the kinds of 0.1."""
    config = derive.union([config_class(name) for name in (PREPARE, *([kind] if kind else _FIRST))])
    if kind:
        config.kind = kind
    return config


def command_config(name: str) -> ConfigDict:
    """The defaults of what "prepare" or "cohort" (inspect, predict-age) or a kind reads, without its name."""
    return derive.section(config_class(name))


def kind_config(config: ConfigDict, kind: str) -> ConfigDict:
    """What a kind reads of a config: a new one, with the name of the kind, without all the rest."""
    own = command_config(kind)
    _take(own, config)
    own.kind = kind
    return own


def _take(into: ConfigDict, given: ConfigDict) -> None:
    with into.ignore_type():
        for key, value in into.items():
            if key not in given:
                continue
            if isinstance(value, ConfigDict) and len(value) and isinstance(given[key], ConfigDict):
                _take(value, given[key])
            else:
                into[key] = copy.deepcopy(given[key])


def reads_of(name: str) -> list[str]:
    """The paths of all that a kind or a command reads."""
    return paths(command_config(name))


def paths(config: ConfigDict, prefix: str = "") -> list[str]:
    """ "section.key" of everything in a config."""
    names: list[str] = []
    for key, value in config.items():
        inner = paths(value, f"{prefix}{key}.") if isinstance(value, ConfigDict) else []
        names += inner or [f"{prefix}{key}"]
    return names
