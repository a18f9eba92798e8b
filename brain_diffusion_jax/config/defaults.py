"""What a config holds before anybody changes it: all settings, those of one kind, those of one command."""

from __future__ import annotations

import copy
from importlib import import_module
from pathlib import Path

from ml_collections import ConfigDict

from brain_diffusion_jax.config import derive

# Where kinds and commands name the dataclass of their config; by name, since the kinds stand above this package.
_DECLARED = "brain_diffusion_jax.tasks.configs"
PREPARE, COHORT = "prepare", "cohort"


def base_config(kind: str = "", *, prepared_as: str | Path = "") -> ConfigDict:
    """The defaults that a config file starts from; None means "not set" and accepts any type.

    kind: diffusion, age, class or gan: what `prepare` and a model of that kind read, and nothing else.
    "" gives the settings of all kinds, as in 0.1. prepared_as: a config file that says how the data are prepared.
    """
    declared = import_module(_DECLARED)
    names = (PREPARE, kind) if kind else (PREPARE, *declared.CONFIGS)
    config = derive.union([declared.config_class(name) for name in names])
    if kind:
        config.kind = kind
    if prepared_as:
        from brain_diffusion_jax.config.load import load_config

        told = load_config(prepared_as)
        with config.ignore_type():
            for section in command_config(PREPARE):
                if section not in ("name", "data"):
                    config[section] = copy.deepcopy(told[section])
    return config


def command_config(name: str) -> ConfigDict:
    """The defaults of what "prepare" or "cohort" (inspect, predict-age) or a kind reads, without its name."""
    return derive.section(import_module(_DECLARED).config_class(name))


def kind_config(config: ConfigDict, kind: str) -> ConfigDict:
    """What a kind reads of a config: a new one, with the name of the kind, without all the rest."""
    found = command_config(kind)
    _take(found, config)
    found.kind = kind
    return found


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
