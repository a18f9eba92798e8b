"""Options as frozen dataclasses: a field is an option of the command line, declared once and parsed once."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, dataclass_transform, get_args, get_origin, get_type_hints

from brain_diffusion_jax.seeds import COUNT, EXPECTED

T = TypeVar("T")
_LISTS = {int: "whole numbers separated by commas", float: "numbers separated by commas, such as 1,3,5"}
_LISTS |= {str: "words separated by commas", Path: "paths separated by commas"}
O = TypeVar("O", bound="OptionGroup")
_OVERRIDE = re.compile(r"[A-Za-z_]\w*(\.\w+)+=")


def option(text: str, default: Any = None, *, required: bool = False, **settings: Any) -> Any:
    """A field given as --its-name VALUE, or as --its-name where it is a bool.

    text: what --help says. settings: of `add_argument`. Without a `type`, the field's own is taken; a tuple is given
    with commas where neither nargs nor action says otherwise.
    """
    return field(default=MISSING if required else default, metadata={"help": text, **settings})


def argument(text: str, **settings: Any) -> Any:
    """A field given by its position."""
    return field(metadata={"help": text, "position": True, **settings})


@dataclass_transform(frozen_default=True, kw_only_default=True)
@dataclass(frozen=True)
class OptionGroup:
    """A class below this one is a frozen dataclass of options."""

    def __init_subclass__(cls) -> None:
        dataclass(frozen=True, kw_only=True)(cls)


def declare(parser: argparse.ArgumentParser, options: type[OptionGroup]) -> None:
    """Add every field of a group to a parser."""
    hints = get_type_hints(options)
    for one in fields(options):
        settings, names = dict(one.metadata), [f"--{one.name.replace('_', '-')}"]
        if settings.pop("position", False):
            names = [one.name]
        else:
            settings |= {"default": None, "required": one.default is MISSING}
        if hints[one.name] is bool:
            settings["action"] = "store_true"
        else:
            settings.setdefault(
                "type", _converter(hints[one.name], with_commas=not {"nargs", "action"} & set(settings))
            )
        parser.add_argument(*names, **settings)


def _converter(hint: Any, *, with_commas: bool) -> Callable[[str], Any]:
    """What makes a field of a word. hint: of the field, such as `tuple[int, ...] | None`."""
    hint = get_args(hint)[0] if isinstance(hint, UnionType) else hint
    kind = get_args(hint)[0] if get_origin(hint) is tuple else hint
    if kind not in (int, float, Path):
        kind = str
    return listed(kind, _LISTS[kind]) if with_commas and get_origin(hint) is tuple else kind


def parse(parser: argparse.ArgumentParser, options: type[O], words: Sequence[str]) -> O:
    """The words as those options; raises SystemExit as argparse does."""
    # section.key=value may stand anywhere among the options.
    given = vars(parser.parse_intermixed_args(words))
    if isinstance(given.get("overrides"), list):
        for one in fields(options):
            _give_back(given, one)
    return options(**{one.name: _value(given[one.name], one) for one in fields(options)})


def _give_back(given: dict[str, Any], one: Field[Any]) -> None:
    """Settings that an option of several words, such as --baselines RUN RUN, took for its own go to the overrides."""
    if one.metadata.get("nargs") == "+" and isinstance(given[one.name], list):
        taken = [word for word in given[one.name] if isinstance(word, str) and _OVERRIDE.match(word)]
        given["overrides"] = [*given["overrides"], *taken]
        given[one.name] = [word for word in given[one.name] if word not in taken]


def _value(given: Any, one: Field[Any]) -> Any:
    """What was given or the default; lists as tuples, and the ~ that shells leave alone in --out=~/images."""
    if given is None or given is False:
        return None if one.default is MISSING else one.default
    if isinstance(given, str | Path) and str(given).startswith("~"):
        return type(given)(os.path.expanduser(given))
    return tuple(given) if isinstance(given, list) else given


def seed(text: str) -> int:
    """The seed that `text` means; raises ArgumentTypeError for what is none."""
    if not (text.isdecimal() and text.isascii() and len(text) < 20 and int(text) < COUNT):
        raise argparse.ArgumentTypeError(f"found {text:.40}; expected {EXPECTED}")
    return int(text)


def listed(kind: Callable[[str], T], expected: str) -> Callable[[str], tuple[T, ...]]:
    """A converter of what is separated by commas; it raises ArgumentTypeError where `kind` raises ValueError."""

    def convert(text: str) -> tuple[T, ...]:
        try:
            return tuple(kind(word) for word in text.split(",") if word)
        except ValueError:
            raise argparse.ArgumentTypeError(f"found {text!r:.80}; expected {expected}") from None

    return convert
