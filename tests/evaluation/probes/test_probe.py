"""Which covariate predictors read."""

from __future__ import annotations

import numpy as np
from discs import hole_age, people

from brain_diffusion_jax.covariates import Categorical, Continuous, Schema
from brain_diffusion_jax.evaluation.metrics.metric_id import SECOND
from brain_diffusion_jax.evaluation.probes.probe import Instruments, build

YEARS, GENDER = Continuous("lived years", "years", 20, 90), Categorical("gender", ("F", "M"))


def test_predictors_read_what_they_learned_or_what_is_counted_in_years():
    read = Instruments([], hole_age, reads="age")
    assert read.fit(YEARS)
    assert read.fit(Continuous("age", "months", 0, 99))
    assert not read.fit(Continuous("weight", "kg", 0, 99))
    schema = Schema((YEARS, Continuous("age", "months", 0, 99)))
    assert read.roles(schema).target.name == "age"
    assert read.roles(schema, target="lived years").target is YEARS


def test_what_the_data_were_measured_with_comes_before_predictors_and_pixel_probes():
    chosen, train = people(6, 1), people(8, 2)
    schema = Schema((Continuous("age", "years", 20, 90), Categorical("sex", ("F", "M"))))

    def names(**given):
        read = Instruments([], **given)
        found = build(read, read.roles(schema), chosen, train)
        return [(p.covariate.name, p.name, p.read(chosen.images)[0]) for p in found if p.covariate.name == "age"]

    measures = {"age": lambda images: np.full(len(images), 7.0)}
    pixels = names()[0]
    assert pixels[:2] == ("age", SECOND)
    assert names(measures=measures) == [("age", "", 7.0), pixels]
    predictor = names(predictor=hole_age)
    assert [name for _, name, _ in predictor] == ["", SECOND]
    both = names(predictor=hole_age, measures=measures)
    assert both == [("age", "", 7.0), ("age", SECOND, predictor[0][2])]
