"""Sets made for the conditions of real pictures: what the table of samplers is read from."""

from __future__ import annotations

import numpy as np
import pytest

from brain_diffusion_jax.evaluation.metrics.anatomy import DarkFraction
from brain_diffusion_jax.evaluation.probes.features import Extractor
from brain_diffusion_jax.evaluation.study.matched_sets import Judge, meets
from brain_diffusion_jax.evaluation.study.picture_sets import PictureSet

RNG = np.random.default_rng(0)
AGES = np.linspace(20, 90, 36)
PEOPLE = [f"p{i // 2}" for i in range(36)]


def pictures(ages, noise, seed):
    """The left half is as bright as the person is old; the right half is the person's own."""
    own = np.random.default_rng(seed).uniform(0.3, 0.7, (len(ages), 8, 4))
    left = np.clip(ages / 100, 0, 1)[:, None, None] * np.ones((1, 8, 4))
    jitter = noise * np.random.default_rng(seed + 1).normal(size=(len(ages), 8, 8))
    return np.clip(np.concatenate([left, own], 2) + jitter, 0, 1).astype(np.float32)


def judge(**settings):
    conditions = [{"age": a, "slice": 46.0 if i % 3 else 40.0} for i, a in enumerate(AGES)]
    real = PictureSet(pictures(AGES, 0.02, 0), conditions, PEOPLE)
    features = Extractor(
        "halves", "1", lambda x: np.stack([x[:, :, :4].mean((1, 2, 3)), x[:, :, 4:].std((1, 2, 3))], 1)
    )
    dark = DarkFraction((0, 8), (0, 4), 0.5, slice=46.0)
    return Judge(real, features, lambda x: 100 * x[:, :, :4].mean((1, 2, 3)), dark, **settings)


def test_a_worse_set_is_told_from_a_good_one():
    reader = judge(replicates=50)
    good, same = reader.read(pictures(AGES, 0.02, 5)[..., None]), reader.read(reader.real.unit[..., None])
    worse = reader.read(pictures(AGES - 15, 0.02, 7)[..., None])
    numbers = [reader.numbers(m) for m in (same, good, worse)]
    assert numbers[0]["FD[halves]"]["value"] == pytest.approx(0, abs=1e-9)
    assert numbers[1]["age mae"]["value"] < 2 < 14 < numbers[2]["age mae"]["value"] < 16
    decisive = ("FD[halves]", "age mae")
    assert meets(numbers[1], numbers[1], decisive)
    assert not meets(numbers[2], numbers[1], decisive)
    more, none = reader.differences(worse, good), reader.differences(good, good)
    assert more["age mae more"]["low"] > 10
    assert more["FD[halves] more"]["low"] > 0
    assert more["FD[halves] more"]["value"] == pytest.approx(
        numbers[2]["FD[halves]"]["value"] - numbers[1]["FD[halves]"]["value"], rel=1e-6
    )
    assert none["FD[halves] more"] == {"value": 0.0, "low": 0.0, "high": 0.0, "replicates": 50}


def test_dark_fractions_are_compared_with_the_same_peoples_slices():
    reader = judge(replicates=20)
    old = AGES > 75
    assert reader.dark_rows.sum() == 24  # only the slice the check is meant for
    brains = reader.real.unit.copy()
    brains[old, :, :1] = 0.0  # a quarter of the box of the oldest turns dark
    numbers = reader.numbers(reader.read(brains[..., None]))
    assert numbers["dark fraction error over 75"]["value"] == pytest.approx(0.25, abs=0.01)
    share = (old & reader.dark_rows).sum() / 24
    assert numbers["dark fraction error"]["value"] == pytest.approx(0.25 * share, abs=0.01)
    assert "FD[halves]" in reader.real_numbers()
