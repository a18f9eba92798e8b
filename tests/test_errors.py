"""The one exception for bad input: its message, its way through pickle, and the words for typos."""

from __future__ import annotations

import pickle

from brain_diffusion_jax.errors import InputError, nearest, one_line


def test_the_message_has_four_parts_and_survives_a_worker_process():
    error = InputError("a.csv", "age", "'old'", "a number")
    assert str(error) == "a.csv: age: found 'old'; expected a number"
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.where, again.expected) == (str(error), "a.csv", "a number")


def test_near_names_come_first_and_all_names_where_none_is_near():
    assert nearest("samplr", ["sampler", "seed", "steps"]).startswith("nearest: sampler")
    assert nearest("zzz", ["b", "a"]) == "known: a, b"


def test_one_line():
    assert one_line(InputError("f", "x", 1, "2\n or 3")) == "f: x: found 1; expected 2 or 3"
    assert one_line(OSError("a\n" + "b" * 500)) == "OSError: a " + "b" * 158
