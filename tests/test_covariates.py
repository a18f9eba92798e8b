from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brain_diffusion_jax.covariates import Categorical, Continuous, Schema
from brain_diffusion_jax.errors import InputError

SCHEMA = Schema((Continuous("age", "years", 18, 88), Categorical("sex", ("F", "M"))))
people = st.fixed_dictionaries({}, optional={"age": st.floats(18, 88), "sex": st.sampled_from(["F", "M"])})


@given(st.lists(people, min_size=1, max_size=4))
def test_decode_inverts_encode_and_absent_stays_absent(conditions):
    decoded = SCHEMA.decode(SCHEMA.encode(conditions))
    for before, after in zip(conditions, decoded, strict=True):
        assert before.keys() == after.keys()
        assert after.get("sex") == before.get("sex")
        if "age" in before:
            assert after["age"] == pytest.approx(before["age"], abs=1e-4)


def test_encoded_values_are_scaled_over_the_domain():
    condition = SCHEMA.encode([{"age": 18, "sex": "F"}, {"age": 88, "sex": "M"}, {"age": None}])
    np.testing.assert_allclose(condition.values[:2], [[0, 0], [1, 1]])
    np.testing.assert_array_equal(condition.present, [[True, True], [True, True], [False, False]])


def test_extrapolation_is_allowed_and_warned_about():
    with pytest.warns(UserWarning, match=r"age: found 95.*18 to 88 years"):
        assert SCHEMA.encode([{"age": 95}]).values[0, 0] == pytest.approx(1.1)


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        ({"agee": 70}, ["agee", "nearest: age"]),
        ({"sex": "X"}, ["sex", "'X'", "F, M"]),
        ({"age": "old"}, ["age", "'old'", "years"]),
        ({"age": float("nan")}, ["age", "nan"]),
    ],
)
def test_bad_conditions_name_field_found_and_expected(condition, words):
    with pytest.raises(InputError) as caught:
        SCHEMA.encode([condition])
    assert all(word in str(caught.value) for word in words)


def test_schema_survives_json_and_refuses_nonsense():
    assert Schema.from_json(SCHEMA.to_json()) == SCHEMA
    assert SCHEMA.cardinalities == (0, 2)
    for items in ([{"name": "age", "unit": "years", "low": 5, "high": 5}], [{"name": "s", "values": ["a", "a"]}]):
        with pytest.raises(InputError):
            Schema.from_json(items)
    with pytest.raises(InputError, match="lo"):
        Schema.from_json([{"name": "age", "unit": "years", "lo": 5, "high": 6}])
