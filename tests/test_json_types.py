"""JSON values against the types that code expects of them."""

from __future__ import annotations

from typing import Any

import pytest

from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.json_types import fits, require_types, words


@pytest.mark.parametrize(
    ("value", "hint", "right"),
    [
        (1, float, True),  # a whole number is a number
        (1.5, int, False),
        (True, int, False),  # Python's bool is an int
        (True, float, False),
        (True, bool, True),
        (None, str | None, True),
        ([1, 2], tuple[int, ...], True),  # JSON has lists alone
        ([1, "a"], list[str | int], True),
        ([1, None], list[int], False),
        ({"a": 1}, dict[str, int], True),
        ({"a": "b"}, dict[str, int], False),
        ("anything", Any, True),
    ],
)
def test_what_fits(value, hint, right):
    assert fits(value, hint) is right


def test_the_first_misfit_is_named_in_words():
    require_types({"unknown": 1}, {"low": float}, "schema")  # other keys are not checked
    with pytest.raises(InputError, match=r"schema: age\.low: found low; expected a number or nothing"):
        require_types({"low": "low"}, {"low": float | None}, "schema", "age.")
    assert words(dict[str, list[int]]) == "an object, each a list, each a whole number"
