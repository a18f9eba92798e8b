"""Configs from files with get_config(), from run folders and from JSON, and back to JSON."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from brain_diffusion_jax import files
from brain_diffusion_jax.config import defaults
from brain_diffusion_jax.config.defaults import kind_config, paths
from brain_diffusion_jax.config.override import OPEN, apply_overrides, convert, describe
from brain_diffusion_jax.config.python_file import adopt, read_python
from brain_diffusion_jax.config.upgrade import FORMAT, format_of, upgrade
from brain_diffusion_jax.errors import InputError, nearest
from brain_diffusion_jax.seeds import check_seed


def base_config(kind: str = "", *, prepared_as: str | Path | ConfigDict = "") -> ConfigDict:
    """The defaults that a config file starts from; None means "not set" and accepts any type.

    kind: what `prepare` and a model of that kind read, and nothing else; "" gives the settings of all kinds, as in
    0.1. prepared_as: a config, or a file of one, that says how the data are prepared.
    """
    config = defaults.base_config(kind)
    if prepared_as:
        other = prepared_as if isinstance(prepared_as, ConfigDict) else load_config(prepared_as)
        with config.ignore_type():
            for section in defaults.command_config(defaults.PREPARE):
                if section not in ("name", "data"):
                    config[section] = copy.deepcopy(other[section])
    return config


def load_config(
    path: str | Path,
    overrides: Sequence[str] = (),
    *,
    kind: str | None = None,
    reads: Sequence[str] | None = None,
) -> ConfigDict:
    """The locked config of a `configs/*.py` file, of a run folder or of JSON, with overrides.

    kind: keep what that kind reads, and refuse a file that is of another; "" the file's own, diffusion where it
    says none. reads: as of `apply_overrides`, for a command that reads a part of any file.
    """
    path = Path(path)
    if path.is_dir():
        path = path / "config.json"
    if not path.exists():
        siblings = sorted(p.name for p in path.parent.glob("*.py")) if path.parent.is_dir() else []
        expected = f"a config file; {nearest(path.name, siblings)}" if siblings else "a config file"
        raise InputError(path, "config", "no such file", expected)
    config = _of_json(path, kind) if path.suffix == ".json" else _of_python(path)
    if kind is not None:
        own = config.get("kind", "")
        if kind and own and kind != own:
            raise InputError(path, "kind", own, f"{kind}, or a file that names no kind")
        config = kind_config(config, kind or own or "diffusion")
    if reads is not None and "cohort.root" in reads and "cohort" not in config:
        expected = "the config file that the data were prepared with"
        raise InputError(path, "cohort", "nothing: a run keeps what its kind reads", expected)
    config.lock()
    return apply_overrides(config, overrides, reads=reads)


def _of_python(path: Path) -> ConfigDict:
    given = read_python(path, paths(base_config())).to_dict()
    kind = given.pop("kind", "")
    config = base_config(kind)
    adopt(config, given, path, paths(config))
    _check_seeds(config, path)
    return config


def _of_json(path: Path, kind: str | None) -> ConfigDict:
    items = files.read_json(path, "config")
    if format_of(items, path) > 1:
        return from_json(items, path)
    own = items.pop("kind", "")  # the settings of all kinds are here
    config = from_json(items, path)
    if kind == "" and own:
        config.kind = own
    return config


def _check_seeds(config: ConfigDict, where: object, prefix: str = "") -> None:
    for key, value in config.items():
        if isinstance(value, ConfigDict):
            _check_seeds(value, where, f"{prefix}{key}.")
        elif key == "seed":
            check_seed(value, where, f"{prefix}{key}")


def to_json(config: ConfigDict) -> dict[str, Any]:
    """A config as plain JSON values; that of a kind with its format number."""
    items = json.loads(json.dumps(config.to_dict()))
    return {"format": FORMAT, **items} if config.get("kind") else items


def _tuples(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_tuples(v) for v in value)
    if isinstance(value, dict):
        return {k: _tuples(v) for k, v in value.items()}
    return value


# What a config.json may hold besides the settings of its kind: converted weights have no contract.
_ABOUT = ("covariates", "split", "source", "preparation")


def from_json(items: dict[str, Any], where: object = "config") -> ConfigDict:
    """The inverse of `to_json`; settings that are younger than `items` get their defaults.

    Of a kind ("kind" in items): what the kind reads, and how the data are prepared where `items` say so. JSON of 0.1
    holds the settings of all kinds, of which the others are left out.
    """
    strict = format_of(items, where) > 1
    items = upgrade(items, where)
    kind = items.pop("kind", "")
    config = base_config(kind if strict else "")
    for key in items if strict else ():
        if key not in config and key not in _ABOUT:
            raise InputError(where, key, f"a setting that no run of kind {kind} reads", nearest(key, paths(config)))
    _merge(config, _tuples(items), where, strict=strict)
    if not kind:
        return config
    whole, config = config, kind_config(config, kind)
    for key in items:
        if key not in config and (strict or key in _ABOUT):
            config[key] = whole[key]
    return config


def _merge(config: ConfigDict, items: dict[str, Any], where: object, section: str = "", strict: bool = False) -> None:
    known = set(config)  # none: the user invents the keys
    with config.unlocked(), config.ignore_type():
        for key, value in items.items():
            path, old = f"{section}{key}", config.get(key)
            if "." in key:
                raise InputError(where, path, "a dot in a key", "a word")
            if strict and section and known and key not in known and section.removesuffix(".") not in OPEN:
                raise InputError(where, path, "an unknown key", nearest(path, [f"{section}{k}" for k in config]))
            if not isinstance(old, ConfigDict):
                open_section = section.removesuffix(".") in OPEN
                config[key] = value if open_section else _checked(old, value, where, path)
            elif isinstance(value, dict):
                _merge(old, value, where, f"{path}.", strict)
            else:
                raise InputError(where, path, describe(value), "a section")


def _checked(old: Any, new: Any, where: object, field: str) -> Any:
    """`convert`, also of what a tuple holds where the default says its type."""
    value = convert(old, new, where, field)
    if isinstance(old, tuple) and isinstance(value, tuple) and len({type(v) for v in old}) == 1:
        for item in value:
            convert(old[0], item, where, field)
    return value
