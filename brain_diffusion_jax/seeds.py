"""Random seeds: 0 to 2^32 - 1. JAX takes others modulo 2^32, and images would repeat unnoticed."""

from __future__ import annotations

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
