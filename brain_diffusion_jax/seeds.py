"""Random seeds: 0 to 2^32 - 1. JAX takes others modulo 2^32, and images would repeat unnoticed."""

from __future__ import annotations

import argparse
import operator
from typing import Any

from brain_diffusion_jax.errors import InputError

COUNT = 2**32
EXPECTED = f"a whole number from 0 to {COUNT - 1}"


def check_seed(seed: Any, where: object, field: str = "seed") -> int:
    """`seed` as an int; InputError for what is none of the `COUNT` seeds."""
    try:
        number = operator.index(seed)
    except TypeError:
        number = -1
    if not 0 <= number < COUNT:
        raise InputError(where, field, f"{seed!s:.40}", EXPECTED)
    return number


def seed(text: str) -> int:
    """The seed that `text` means, for argparse (`type=seed`); raises ArgumentTypeError for others."""
    if not (text.isdecimal() and text.isascii() and len(text) < 20 and int(text) < COUNT):
        raise argparse.ArgumentTypeError(f"found {text:.40}; expected {EXPECTED}")
    return int(text)
