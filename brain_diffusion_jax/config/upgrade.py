"""Configs that earlier versions wrote: their format, and the settings that have another name since.

Format 1, of version 0.1, has no number; it holds the settings of all kinds, whichever kind the run is of.
Format 2 holds those of the kind.
"""

from __future__ import annotations

from typing import Any

from brain_diffusion_jax.errors import InputError

FORMAT = 2
# section.key of an earlier version: section.key of this one, with the same meaning and unit.
RENAMED: dict[str, str] = {}


def format_of(items: dict[str, Any], where: object) -> int:
    """The format of the JSON of a config; one that is younger than this version is refused."""
    number = items.get("format", 1)
    if not isinstance(number, int) or not 1 <= number <= FORMAT:
        raise InputError(where, "format", number, f"1 to {FORMAT}, those that this version knows; install a newer one")
    return number


def upgrade(items: dict[str, Any], where: object) -> dict[str, Any]:
    """The JSON of a config with the names of today, without its format number."""
    format_of(items, where)
    renamed = {k: dict(v) if isinstance(v, dict) else v for k, v in items.items() if k != "format"}
    for old, new in RENAMED.items():
        section, _, key = old.partition(".")
        if key in renamed.get(section, {}):
            into, _, name = new.partition(".")
            renamed.setdefault(into, {}).setdefault(name, renamed[section].pop(key))
    return renamed


def hint(path: str) -> str:
    """A clause with the name of today, for messages about a setting that had another one; "" for any other."""
    return f"{RENAMED[path]}, its name since 0.2" if path in RENAMED else ""
