"""Which settings of a run may change between its first step and its last.

A path names a section ("gan"), a key ("train.num_steps") or a top-level value ("seed").
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Kept:
    """What a run keeps; a change of anything else is allowed and noted in its history.

    paths: of its config. but: those of them that change how a network is computed and nothing that a checkpoint
    holds. forms: path -> what a checkpoint depends on of that setting, such as whether it is 0.
    """

    paths: tuple[str, ...] = ()
    but: tuple[str, ...] = ()
    forms: Mapping[str, Callable[[Any], Any]] = field(default_factory=dict)


def keys(section: str, names: str) -> tuple[str, ...]:
    """The paths of several keys of a section, their names separated by spaces."""
    return tuple(f"{section}.{name}" for name in names.split())


def value_at(config: Mapping[str, Any], path: str) -> Any:
    """The value of "section.key" in a config, None where it has none."""
    section, _, key = path.partition(".")
    value = config.get(section)
    return (value or {}).get(key) if key else value


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Path -> (old, new) of the settings in which two configs (JSON values) of a kind differ.

    A setting that `old` does not name is younger than the run and no change; nor is one that `new` lacks: runs of
    0.1 hold the settings of all kinds.
    """
    changed = {}
    for section, values in old.items():
        nested = isinstance(values, dict)
        if section not in new or section == "format":
            continue
        for path in [f"{section}.{key}" for key in values if key in (new[section] or ())] if nested else [section]:
            pair = value_at(old, path), value_at(new, path)
            if not _same(*pair):
                changed[path] = pair
    return changed


def _same(old: Any, new: Any) -> bool:
    if isinstance(old, dict) and old and isinstance(new, dict):
        return all(_same(value, new.get(key)) for key, value in old.items())
    return bool(old == new)


def forbidden(kept: Kept, changed: Mapping[str, tuple[Any, Any]]) -> list[str]:
    """Those of `changes` that a run does not survive."""
    broken = []
    for path, (old, new) in changed.items():
        form = kept.forms.get(path, lambda value: value)
        fixed = any(path == p or path.startswith(f"{p}.") for p in kept.paths) and path not in kept.but
        if fixed and not _same(form(old), form(new)):
            broken.append(path)
    return broken
