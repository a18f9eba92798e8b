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


MEASURED = Schema(
    (
        Continuous("ventricles", "MNI-scaled mm3", 1000, 70000),
        Continuous("brain", "fraction", 0.6, 0.9),
        Continuous("lesion", "mm^3", 0, 5000),
        Categorical("sex", ("F", "M")),
    )
)


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        ({"ventricles": 0.02}, r"ventricles: found 0.02: a fraction.*MNI-scaled mm3, such as 1000 to 70000"),
        ({"ventricles": 40}, r"ventricles: found 40: a fraction, or a volume in another unit"),  # millilitres
        ({"ventricles": 0}, r"ventricles: found 0: no volume \(leave a missing one out\)"),
        ({"brain": 1_200_000}, r"brain: found 1.2e\+06: a volume or a percentage; expected a number in fraction"),
        ({"brain": 78}, r"brain: found 78: a volume or a percentage"),
        ({"lesion": 0.5}, r"lesion: found 0.5: a fraction"),
        ({"sex": 1}, r"sex: found 1; expected one of F, M"),
        ({"sex": "2"}, r"sex: found '2'"),
    ],
)
def test_volumes_and_fractions_are_not_taken_for_each_other_and_codes_are_no_sex(condition, words):
    with pytest.raises(InputError, match=words):
        MEASURED.encode([condition])


@pytest.mark.filterwarnings("ignore:.*extrapolating")
def test_what_a_volume_or_a_fraction_can_be_is_taken():
    wide = [{"ventricles": 150, "brain": 1.2}, {"ventricles": -33_500, "brain": 0.45}, {"ventricles": 132_100}]
    assert MEASURED.encode(wide).present[:, 0].all()  # -0.5 and 1.9 of the range are asked of models
    assert MEASURED.encode([{"lesion": 0}, {"lesion": 2}]).present[:, 2].all()  # 0 lies in this domain
