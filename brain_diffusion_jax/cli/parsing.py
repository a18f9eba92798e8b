"""Options as frozen dataclasses: a field is an option of the command line, declared once and parsed once."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar, dataclass_transform, get_args, get_type_hints

from brain_diffusion_jax.seeds import COUNT, EXPECTED

T = TypeVar("T")
O = TypeVar("O", bound="OptionGroup")


def option(text: str, default: Any = None, *, required: bool = False, **settings: Any) -> Any:
    """A field given as --its-name VALUE, or as --its-name where it is a bool.

    text: what --help says. settings: of `add_argument`; without a `type`, int, float and Path are those of the field.
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
        settings, kinds = dict(one.metadata), (hints[one.name], *get_args(hints[one.name]))
        if settings.pop("position", False):
            names = [one.name]
        else:
            names, settings["default"] = [f"--{one.name.replace('_', '-')}"], None
            settings["required"] = one.default is MISSING
        if bool in kinds:
            settings["action"] = "store_true"
        elif kind := next((kind for kind in (int, float, Path) if kind in kinds), None):
            settings.setdefault("type", kind)
        parser.add_argument(*names, **settings)


def parse(parser: argparse.ArgumentParser, options: type[O], words: Sequence[str]) -> O:
    """The words as those options; raises SystemExit as argparse does."""
    # section.key=value may stand anywhere among the options.
    given = vars(parser.parse_intermixed_args(words))
    return options(**{one.name: _value(given[one.name], one) for one in fields(options)})


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


words = listed(str, "words separated by commas")
numbers = listed(float, "numbers separated by commas, such as 1,3,5")
whole_numbers = listed(int, "whole numbers separated by commas")
