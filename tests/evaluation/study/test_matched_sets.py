"""Sets made for the conditions of real pictures: what the table of samplers is read from."""

from __future__ import annotations

import numpy as np
import pytest

from brain_diffusion_jax.covariates import Continuous
from brain_diffusion_jax.evaluation.image_set import ImageSet
from brain_diffusion_jax.evaluation.metrics.anatomy import DarkFraction
from brain_diffusion_jax.evaluation.probes.features import Extractor
from brain_diffusion_jax.evaluation.probes.probe import of_predictor
from brain_diffusion_jax.evaluation.study.matched_sets import MatchedSets, meets
from brain_diffusion_jax.evaluation.study.probe_set import DarkCheck, ProbeSet

RNG = np.random.default_rng(0)
AGES = np.linspace(20, 90, 36)
PEOPLE = [f"p{i // 2}" for i in range(36)]


def pictures(ages, noise, seed):
    """The left half is as bright as the person is old; the right half is the person's own."""
    own = np.random.default_rng(seed).uniform(0.3, 0.7, (len(ages), 8, 4))
    left = np.clip(ages / 100, 0, 1)[:, None, None] * np.ones((1, 8, 4))
    jitter = noise * np.random.default_rng(seed + 1).normal(size=(len(ages), 8, 8))
    return np.clip(np.concatenate([left, own], 2) + jitter, 0, 1).astype(np.float32)


def matched(**settings):
    conditions = [{"age": a, "slice": 46.0 if i % 3 else 40.0} for i, a in enumerate(AGES)]
    real = ImageSet(pictures(AGES, 0.02, 0), conditions, PEOPLE)
    features = Extractor(
        "halves", "1", lambda x: np.stack([x[:, :, :4].mean((1, 2, 3)), x[:, :, 4:].std((1, 2, 3))], 1)
    )
    age, position = Continuous("age", "years", 20, 90), Continuous("slice", "index", 0, 90)
    dark = DarkCheck(DarkFraction((0, 8), (0, 4), 0.5, slice=46.0), position)
    probe = of_predictor(age, "", lambda x: 100 * x[:, :, :4].mean((1, 2, 3)))
    return MatchedSets(real, ProbeSet([features], [probe], dark, **settings))


def test_a_worse_set_is_told_from_a_good_one():
    sets = matched(replicates=50)
    good, same = sets.read(pictures(AGES, 0.02, 5)[..., None]), sets.read(sets.real.unit)
    worse = sets.read(pictures(AGES - 15, 0.02, 7)[..., None])
    numbers = [sets.numbers(m) for m in (same, good, worse)]
    assert numbers[0]["FD[halves]"]["value"] == pytest.approx(0, abs=1e-9)
    assert numbers[1]["age mae"]["value"] < 2 < 14 < numbers[2]["age mae"]["value"] < 16
    decisive = ("FD[halves]", "age mae")
    assert meets(numbers[1], numbers[1], decisive)
    assert not meets(numbers[2], numbers[1], decisive)
    more, none = sets.differences(worse, good), sets.differences(good, good)
    assert more["age mae more"]["low"] > 10
    assert more["FD[halves] more"]["low"] > 0
    assert more["FD[halves] more"]["value"] == pytest.approx(
        numbers[2]["FD[halves]"]["value"] - numbers[1]["FD[halves]"]["value"], rel=1e-6
    )
    assert none["FD[halves] more"] == {"value": 0.0, "low": 0.0, "high": 0.0, "replicates": 50}


def test_dark_fractions_are_compared_with_the_same_peoples_slices():
    sets = matched(replicates=20)
    old = AGES > 75
    at_slice = sets.probe_set.dark.rows(sets.real)
    assert len(at_slice) == 24  # only the slice the check is meant for
    brains = sets.real.unit.copy()
    brains[old, :, :1] = 0.0  # a quarter of the box of the oldest turns dark
    numbers = sets.numbers(sets.read(brains))
    assert numbers["dark fraction error over 75"]["value"] == pytest.approx(0.25, abs=0.01)
    share = old[at_slice].sum() / 24
    assert numbers["dark fraction error"]["value"] == pytest.approx(0.25 * share, abs=0.01)
    assert "FD[halves]" in sets.real_numbers()
