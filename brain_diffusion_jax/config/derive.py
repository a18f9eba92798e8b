"""ConfigDicts from frozen dataclasses, and frozen dataclasses from ConfigDicts.

The dataclasses stand beside the code that reads them and are the only place of a default. What a field's metadata
says under "config": False, no setting; "inline", the fields of this dataclass stand in the section itself; a
dataclass, the section of a field that is typed as a mapping.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any, TypeVar, get_type_hints

from ml_collections import ConfigDict

from brain_diffusion_jax.errors import InputError, nearest

T = TypeVar("T")


def section(declared: Any) -> ConfigDict:
    """The ConfigDict of a dataclass with its defaults, or of an instance with its values."""
    config = ConfigDict()
    for field in _settings(declared):
        how = field.metadata.get("config")
        value = getattr(declared, field.name) if not isinstance(declared, type) else _default(declared, field)
        if how == "inline":
            for key, inner in section(value).items():
                config[key] = inner
        elif isinstance(how, type):
            config[field.name] = section(how)
        elif is_dataclass(value):
            config[field.name] = section(value)
        else:
            config[field.name] = ConfigDict(dict(value)) if isinstance(value, Mapping) else value
    return config


def _settings(declared: Any) -> list[Field[Any]]:
    return [field for field in fields(declared) if field.metadata.get("config") is not False]


def _default(declared: type, field: Field[Any]) -> Any:
    """A field's default; of a section without one (its dataclass asks for something) the dataclass."""
    if field.default is not MISSING:
        return field.default
    if field.default_factory is not MISSING:
        return field.default_factory()
    return get_type_hints(declared)[field.name]


def union(declared: Sequence[Any]) -> ConfigDict:
    """The settings of several dataclasses as one; two that know a setting must agree about its default."""
    config = ConfigDict()
    for one in declared:
        _add(config, section(one), "")
    return config


def _add(config: ConfigDict, more: ConfigDict, prefix: str) -> None:
    for key, value in more.items():
        if key not in config:
            config[key] = value
        elif isinstance(value, ConfigDict) and isinstance(config[key], ConfigDict):
            _add(config[key], value, f"{prefix}{key}.")
        elif value != config[key]:
            raise ValueError(f"{prefix}{key}: declared with the defaults {config[key]!r} and {value!r}")


def build(declared: type[T], values: Mapping[str, Any] | ConfigDict, where: object = "config", prefix: str = "") -> T:
    """An instance of a dataclass from a config or a section of one; a foreign key is refused with the nearest."""
    values = values.to_dict() if isinstance(values, ConfigDict) else values
    known = {f.name: f for f in _settings(declared)}
    given: dict[str, Any] = {}
    for key, value in values.items():
        if key not in known:
            raise InputError(where, f"{prefix}{key}", "a setting that nothing reads here", nearest(key, known))
        default = _default(declared, known[key])
        inner = default if isinstance(default, type) else type(default)
        if isinstance(value, Mapping) and is_dataclass(inner):
            rest = {} if isinstance(default, type) else {f.name: getattr(default, f.name) for f in _settings(default)}
            value = build(inner, {**rest, **value}, where, f"{prefix}{key}.")
        given[key] = value
    return declared(**given)


def part(declared: type[T], of: object, **more: Any) -> T:
    """An instance of a dataclass with the fields that it shares with another instance, `of`, and with `more`."""
    names = [f.name for f in fields(declared) if hasattr(of, f.name)]  # type: ignore[arg-type]
    return declared(**{**{name: getattr(of, name) for name in names}, **more})
