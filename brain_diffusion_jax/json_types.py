"""Checks that values read from JSON have the types that the code expects."""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Any, Union, get_args, get_origin

from brain_diffusion_jax.errors import InputError


def require_types(items: Mapping[str, Any], expected: Mapping[str, Any], where: object, prefix: str = "") -> None:
    """Raise InputError for the first key of `items` whose value does not fit its type in `expected`.

    expected: key -> type, also list[X], dict[str, X] and unions. Other keys are not checked. prefix: put before the
    key in the message.
    """
    for name, hint in expected.items():
        if name in items and not fits(items[name], hint):
            raise InputError(where, f"{prefix}{name}", str(items[name])[:80], words(hint))


def fits(value: Any, hint: Any) -> bool:
    """Whether a JSON value fits a type: lists stand for tuples, whole numbers for floats."""
    origin, inner = get_origin(hint), get_args(hint)
    if hint is Any:
        return True
    if origin in (Union, types.UnionType):
        return any(fits(value, part) for part in inner)
    if origin in (list, tuple):
        return isinstance(value, list | tuple) and all(fits(v, inner[0]) for v in value)
    if origin in (dict, Mapping):
        return isinstance(value, Mapping) and all(fits(v, inner[1]) for v in value.values())
    if hint is type(None):
        return value is None
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, hint) and (hint is bool or not isinstance(value, bool))


def words(hint: Any) -> str:
    """A type in plain words, such as "a whole number or text", for messages."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(words(part) for part in inner)
    if origin in (list, tuple):
        return f"a list, each {words(inner[0])}"
    if origin in (dict, Mapping):
        return "an object" if inner[1] is Any else f"an object, each {words(inner[1])}"
    known = {str: "text", float: "a number", int: "a whole number", bool: "true or false", dict: "an object"}
    return "nothing" if hint is type(None) else known.get(hint, str(hint))
