"""Which sliders an explorer has: domains, slices that the model knows, what goes first where pictures are too many."""

from __future__ import annotations

import itertools

import pytest
import tiny_runs

from brain_diffusion_jax.covariates import Categorical, Continuous, Schema
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation.explore.axes import choose, numbers_of, spread

AGE, SEX = Continuous("age", "years", 20, 90), Categorical("sex", ("F", "M"))
SLICE = Continuous("slice", "index", 0, 90)
VOLUMES = tuple(Continuous(name, "MNI-scaled mm3", 1000, 60000) for name in ("ventricles", "brain"))
SCALES = (1.0, 3.0, 5.0, 7.0)


@pytest.mark.parametrize(("low", "high"), [(20, 90), (18.3, 96.9), (0, 1), (-1e-4, 2e-4), (3848, 65080)])
def test_a_number_is_spread_over_its_domain(low, high):
    values = spread(low, high, 8)
    assert (values[0], values[-1], len(values)) == (low, high, 8)
    steps = [b - a for a, b in itertools.pairwise(values)]
    assert max(steps) < 1.2 * min(steps)


def test_ages_are_round_numbers():
    assert spread(20, 90, 8) == (20, 30, 40, 50, 60, 70, 80, 90)


def test_slices_are_those_of_the_contract():
    contract = tiny_runs.contract(Schema((SLICE,)))  # indices 2, 3, 4 at -32, -12, 8 mm
    assert numbers_of(SLICE, contract, 8) == (2, 3, 4)
    assert numbers_of(SLICE, contract, 1) == (3,)
    assert numbers_of(Continuous("z", "mm", -70, 70), contract, 2) == (-32, 8)
    assert len(numbers_of(SLICE, None, 8)) == 8


def test_everything_is_there_where_it_fits():
    axes = choose(Schema((AGE, SEX, SLICE)), None, SCALES, 3.0, 512)
    assert axes.text() == "8 age x 2 sex x 8 slice x 4 guidance scale"
    assert axes.count == 512 == len(axes.conditions()) * 4
    assert axes.conditions()[1] == {
        "age": 20,
        "sex": "F",
        "slice": axes.covariates[2].values[1],
    }  # the last runs fastest


def test_age_keeps_its_values_longest_and_what_is_given_stays():
    schema = Schema((AGE, SEX, *VOLUMES))
    axes = choose(schema, None, SCALES, 3.0, 18)
    assert [len(axis) for axis in axes.covariates] == [8, 2]
    assert axes.scales.values == (3.0,)
    assert axes.left_out == ("ventricles", "brain")
    given = choose(schema, None, SCALES, 3.0, 18, given={"brain": (2000.0, 5000.0, 9000.0)})
    assert [(axis.name, len(axis)) for axis in given.covariates] == [("age", 3), ("sex", 2), ("brain", 3)]


def test_given_values_are_in_order_and_once():
    given = {"age": (80.0, 20.0, 80.0), "sex": ("M", "F", "M")}
    axes = choose(Schema((AGE, SEX)), None, (), 1.0, 50, given=given, given_scales=(3.0, 1.0, 3.0), seeds=(4, 0, 4))
    assert [axis.values for axis in axes.all] == [(20, 80), ("M", "F"), (1, 3), (4, 0)]


def test_a_slice_is_never_left_out():
    axes = choose(Schema((AGE, SEX, SLICE)), None, SCALES, 3.0, 16)
    assert (axes.covariates[2].values, axes.left_out) == ((45.0,), ())


def test_too_many_are_refused_with_what_to_reduce():
    with pytest.raises(InputError, match=r"40 age x 2 sex = 80; expected at most 50: fewer values of age \(--set"):
        choose(Schema((AGE, SEX)), None, (), 1.0, 50, given={"age": range(20, 60)})
    with pytest.raises(InputError, match="fewer --seeds, or --limit 1200"):
        choose(Schema((SEX,)), None, (), 1.0, 50, seeds=range(600))
