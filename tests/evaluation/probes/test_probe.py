"""Which covariate predictors read."""

from __future__ import annotations

from discs import hole_age

from brain_diffusion_jax.covariates import Categorical, Continuous, Schema
from brain_diffusion_jax.evaluation.probes.probe import Instruments

YEARS, GENDER = Continuous("lived years", "years", 20, 90), Categorical("gender", ("F", "M"))


def test_predictors_read_what_they_learned_or_what_is_counted_in_years():
    read = Instruments([], hole_age, reads="age")
    assert read.fit(YEARS)
    assert read.fit(Continuous("age", "months", 0, 99))
    assert not read.fit(Continuous("weight", "kg", 0, 99))
    schema = Schema((YEARS, Continuous("age", "months", 0, 99)))
    assert read.roles(schema).target.name == "age"
    assert read.roles(schema, target="lived years").target is YEARS
