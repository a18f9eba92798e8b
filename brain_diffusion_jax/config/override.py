"""section.key=value of the command line: every key known, every value in the type of its default."""

from __future__ import annotations

import ast
import os
from collections.abc import Sequence
from typing import Any, TypeVar

from ml_collections import ConfigDict

from brain_diffusion_jax.config import derive
from brain_diffusion_jax.config.defaults import base_config, paths
from brain_diffusion_jax.config.upgrade import hint
from brain_diffusion_jax.errors import InputError, nearest
from brain_diffusion_jax.seeds import check_seed

T = TypeVar("T")

# Files and folders, whose ~ no shell expands after a "=".
_PATHS = (
    *("data.shards", "cohort.root", "cohort.table", "pictures.root", "age_model.pretrained"),
    *("codec.autoencoder", "codec.cache", "loss.perceptual_run", "loss.perceptual_weights"),
)
# Sections whose keys the user invents (columns of their own table).
OPEN = ("cohort.columns", "cohort.sex_codes", "cohort.keep")
# What `prepare` is told, and a training reads from the shards.
_OF_DATA = ("cohort", "covariates", "pictures", "prepare", "split")
# A word, or numbers.
_WORD_OR_SIZE = "prepare.grid"


def covers(paths: Sequence[str], path: str) -> bool:
    """Whether `paths` name `path` or what holds it."""
    return any(path == p or path.startswith(f"{p}.") for p in paths)


def apply_overrides(
    config: ConfigDict,
    overrides: Sequence[str],
    where: object = "command line",
    *,
    reads: Sequence[str] | None = None,
) -> ConfigDict:
    """Set `section.key=value` in place; a typo lists the nearest keys, a wrong type says both types.

    reads: paths of what the command reads (None: all of the config); anything else is refused, since it would be
    lost.
    """
    for item in overrides:
        path, separator, text = item.partition("=")
        if not separator:
            raise InputError(where, item, "no '='", "section.key=value")
        *sections, key = path.split(".")
        if ".".join(sections[:2]) in OPEN and len(sections) > 2:
            raise InputError(where, path, "a dot in the name of a column or code", "a name without dots")
        node = _section(config, path, where, reads)
        if ".".join(sections) in OPEN:
            with node.unlocked(), node.ignore_type():
                node[key] = _words(text, several=sections[-1] == "keep")
            continue
        value = convert(node[key], _value(path, text, node[key]), where, path)
        if key == "seed":
            check_seed(value, where, path)
        with node.ignore_type():
            node[key] = value
    for section, key in (path.split(".") for path in _PATHS):
        if config.get(section, {}).get(key):
            config[section][key] = os.path.expanduser(config[section][key])
    return config


def changed(settings: T, overrides: Sequence[str], *, reads: Sequence[str] | None = None) -> T:
    """A typed config with section.key=value of `overrides`, as `apply_overrides`; `settings` itself stays."""
    config = derive.section(settings)
    return derive.build(type(settings), apply_overrides(config, overrides, reads=reads))


def _section(config: ConfigDict, path: str, where: object, reads: Sequence[str] | None) -> ConfigDict:
    """The section of `path`; refused where there is no such key, or nobody reads it."""
    *sections, key = path.split(".")
    node = _find(config, sections)
    free = ".".join(sections) in OPEN
    known = node is not None and (free or (key in node and not isinstance(node[key], ConfigDict)))
    mine = [p for p in paths(config) if reads is None or covers(reads, p)]
    if known and node is not None and (reads is None or covers(reads, path)):
        return node
    elsewhere = _find(base_config(), sections)
    foreign = known or (elsewhere is not None and (free or not isinstance(elsewhere.get(key, elsewhere), ConfigDict)))
    found = "a setting that this command does not read" if foreign else "an unknown key"
    expected = hint(path) or nearest(path, mine)
    if foreign and path.split(".")[0] in _OF_DATA and "data.shards" in mine:
        expected = "data.shards=FOLDER, whose contract.json keeps what `prepare` was told"
    raise InputError(where, path, found, expected)


def _find(config: ConfigDict, sections: Sequence[str]) -> ConfigDict | None:
    node: Any = config
    for section in sections:
        node = node.get(section) if isinstance(node, ConfigDict) else None
    return node if isinstance(node, ConfigDict) else None


def _value(path: str, text: str, old: Any) -> Any:
    """What `text` says, given what the setting is now."""
    new = _parse(text)
    if not isinstance(old, str) or (path == _WORD_OR_SIZE and isinstance(new, tuple)):
        return new
    # A word such as "1" or "none" stays a word, but what may be unset can be unset again.
    *sections, key = path.split(".")
    default = _find(base_config(), sections)
    return None if text == "None" and default is not None and default.get(key, "") is None else text


def _parse(text: str) -> Any:
    words = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _words(text: str, several: bool) -> str | tuple[str, ...]:
    """Text as a table spells it (21003 and TRUE are words); several: "0,0.5", "(a, b)" and "[a, b]" are more words."""
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        value = text
    if several and (isinstance(value, tuple | list) or text[:1] + text[-1:] in ("()", "[]")):
        if not isinstance(value, str) and all(isinstance(v, str) for v in value):
            return tuple(value)
        return tuple(word.strip(" '\"") for word in text.strip("()[]").split(",") if word.strip())
    return value if isinstance(value, str) else text


def describe(value: Any) -> str:
    """A value with its type, for messages."""
    return "nothing (None)" if value is None else f"{type(value).__name__} {value!r}"


def convert(old: Any, new: Any, where: object, field: str) -> Any:
    """`new` in the type of `old`; int to float and list to tuple are no mistakes, the rest is."""
    if isinstance(new, list):
        new = tuple(new)
    if old is None or new is None:
        return new
    if isinstance(old, float) and isinstance(new, int) and not isinstance(new, bool):
        return float(new)
    if isinstance(old, tuple) and not isinstance(new, tuple | str):
        return (new,)
    if field == _WORD_OR_SIZE and isinstance(new, tuple):
        return new
    if type(old) is not type(new):
        raise InputError(where, field, describe(new), f"{type(old).__name__}, as in the default {old!r}")
    return new
