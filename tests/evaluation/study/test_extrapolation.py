"""A covariate asked for beyond its range: who is asked, with which noise, what reads the answers, what is refused."""

from __future__ import annotations

import dataclasses
import warnings

import numpy as np
import pytest
from discs import SETTINGS, hole_age, people, sample

from brain_diffusion_jax.covariates import Categorical, Continuous, Schema
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation.image_set import ImageSet
from brain_diffusion_jax.evaluation.probes.condition_fidelity import FRACTIONS
from brain_diffusion_jax.evaluation.probes.probe import Instruments
from brain_diffusion_jax.evaluation.study import extrapolation

SCHEMA = Schema((Continuous("age", "years", 20, 90), Categorical("sex", ("F", "M"))))
SETTINGS_3 = dataclasses.replace(SETTINGS, extrapolate=("age",), extrapolate_images=3, batch_size=2)
READ = Instruments([], hole_age)


def ask(names=("age",), schema=SCHEMA, chosen=None, train=None, instruments=READ, settings=SETTINGS_3):
    chosen = people(10, 2) if chosen is None else chosen
    roles = instruments.roles(schema)
    return extrapolation.questions(names, schema, chosen, train, instruments, roles, settings)


def test_noise_and_other_conditions_stay_while_one_moves(tmp_path):
    calls = []

    def watched(conditions, scale, seed):
        calls.append((scale, seed, [dict(c) for c in conditions]))
        SCHEMA.encode(conditions)  # as a model does, which warns beyond the range
        return sample(conditions, scale, seed)

    (question,) = ask()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        extrapolation.sample(watched, question, SETTINGS_3, tmp_path)
    assert len(calls) == len(FRACTIONS) * 2 * 2  # scales, chunks
    assert len({seed for _, seed, _ in calls}) == 2
    ages = sorted({c["age"] for _, _, conditions in calls for c in conditions})
    np.testing.assert_allclose(ages, 20 + 70 * np.array(FRACTIONS))
    whole = [c["sex"] for _, _, conditions in calls[:2] for c in conditions]
    assert whole == [other["sex"] for other in question.others]
    found = extrapolation.answers(question, SETTINGS_3, tmp_path)
    covariate, curves = extrapolation.curves_of(found)
    assert (covariate, found["reader"]) == (SCHEMA["age"], "the regressor")
    assert curves["w=3"].measured.shape == (len(FRACTIONS), 3)
    inside = slice(2, 7)  # where the regressor was calibrated
    assert (np.diff(curves["w=3"].means[inside]) > 0).all()
    slopes = [np.polyfit(curve.requested[inside], curve.means[inside], 1)[0] for curve in curves.values()]
    assert slopes[0] < 0.4 < 0.8 < slopes[1]
    again = list(calls)
    extrapolation.sample(watched, question, SETTINGS_3, tmp_path)  # nothing is made anew
    assert calls == again
    other = dataclasses.replace(SETTINGS_3, seed=7)
    with pytest.raises(InputError, match=r"plan\.json: seed"):
        extrapolation.sample(watched, question, other, tmp_path)


def test_different_people_are_asked():
    conditions = [{"age": float(20 + i)} for i in range(8)]
    chosen = ImageSet(np.zeros((8, 4, 4), np.uint8), conditions, list("aabbccdd"))
    assert [c["age"] for c in extrapolation.different_people(chosen, 2)] == [20, 26]
    assert [c["age"] for c in extrapolation.different_people(chosen, 9)] == [20, 22, 24, 26]


def test_the_instrument_of_the_data_comes_first_then_the_regressor_then_pixels():
    measured = Instruments([], hole_age, measures={"age": lambda x: x.mean((1, 2, 3))})
    (question,) = ask(instruments=measured)
    assert question.reader == "the instrument that the data were measured with"
    np.testing.assert_allclose(question.probe.read(np.full((1, 4, 4, 1), 51, np.uint8)), 0.2)
    (question,) = ask(instruments=Instruments([]), train=people(20, 1))
    assert question.reader == "a linear probe of pixels"


def test_what_cannot_be_asked_is_refused_before_anything_is_drawn():
    with pytest.raises(InputError, match="nearest: age"):
        ask(("agee",))
    with pytest.raises(InputError, match="extrapolate: found sex; expected a covariate that is a number"):
        ask(("sex",))
    with pytest.raises(InputError, match="age, which nothing reads"):
        ask(instruments=Instruments([]))
    # -0.3 of this range is no volume.
    volumes = Schema((Continuous("age", "mm3", 300, 1300), SCHEMA["sex"]))
    with pytest.raises(InputError, match="no volume"):
        ask(schema=volumes, instruments=Instruments([], measures={"age": hole_age}))
    with pytest.raises(InputError, match=r"study\.extrapolate_images"):
        dataclasses.replace(SETTINGS, extrapolate_images=0)
