"""The covariate that a network learns to read: by its name, or the only one of its type."""

from __future__ import annotations

import numpy as np
import pytest

from brain_diffusion_jax.covariates import Categorical, Continuous, Schema
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.tasks.labels import Label, find

SCHEMA = Schema((Continuous("age", "years", 20, 80), Categorical("sex", ("F", "M")), Continuous("dose", "mg", 0, 9)))


def test_a_target_is_found_by_its_name_or_as_the_only_one_of_its_type() -> None:
    assert find(SCHEMA, "dose", Continuous, "x.target") == (2, SCHEMA["dose"])
    assert find(SCHEMA, "", Categorical, "x.target") == (1, SCHEMA["sex"])


@pytest.mark.parametrize(
    ("name", "words"),
    [("", "nothing"), ("sex", "found sex"), ("weight", "found weight")],
)
def test_no_other_covariate_is_a_target(name: str, words: str) -> None:
    with pytest.raises(InputError, match=rf"x\.target: .*{words}; expected a continuous covariate, of .*age.*dose"):
        find(SCHEMA, name, Continuous, "x.target")


def test_a_label_is_known_where_its_covariate_is_present() -> None:
    present = np.array([[True, False, True], [False, True, True]])
    assert Label(1).known({"present": present}).tolist() == [False, True]
