"""Measured against requested, and beyond the range."""

from __future__ import annotations

import numpy as np
import pytest

from brain_diffusion_jax.covariates import Continuous
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation.metrics.metric_id import MetricId
from brain_diffusion_jax.evaluation.probes import condition_fidelity as fidelity

VENTRICLES = Continuous("ventricles", "MNI-scaled mm3", 4000, 64000)


def test_rows_tell_a_faithful_model_from_one_that_shrinks_to_the_mean():
    rng = np.random.default_rng(0)
    asked = rng.uniform(5000, 60000, 80)
    people = [f"p{i // 2}" for i in range(80)]
    shrunk = 30000 + 0.4 * (asked - 30000)
    sets = {
        "real people": fidelity.Answered(asked, asked + rng.normal(size=80) * 500, people, generated=False),
        "model": fidelity.Answered(asked, 1.05 * asked + 1000 + rng.normal(size=80) * 1500, people),
        "shrunk": fidelity.Answered(asked, shrunk + rng.normal(size=80) * 1500, people),
    }
    rows = {row.name: row for row in fidelity.fidelity_rows(VENTRICLES, sets, replicates=50)}
    assert [row.scale for row in rows.values()] == [None, 1.0, 1.0]
    assert rows["model"].num_people == 40
    of = MetricId(covariate="ventricles")
    assert min(row.value(of.of("r")) for row in rows.values()) > 0.95  # r alone says nothing
    assert rows["model"].value(of.of("slope")) == pytest.approx(1.05, abs=0.03)
    assert rows["model"].value(of.of("bias")) == pytest.approx(1000 + 0.05 * asked.mean(), abs=500)
    assert rows["shrunk"].value(of.of("slope")) == pytest.approx(0.4, abs=0.03)
    assert rows["shrunk"].value(of.of("mae")) == pytest.approx(np.abs(shrunk - asked).mean(), rel=0.05)
    slope = rows["shrunk"].number(of.of("slope"))
    assert slope["low"] < slope["value"] < slope["high"] < 0.5
    assert rows["model"].pictures["requested ventricles"] == asked.tolist()
    with pytest.raises(InputError, match="condition fidelity, a: people"):
        fidelity.fidelity_rows(VENTRICLES, {"a": fidelity.Answered(asked, asked, people[:3])})


def saturating(top):
    """A sampler of "images" [n, 1] that are the value asked for, up to a ceiling, plus noise that a seed fixes."""
    noise = np.random.default_rng(0).normal(size=5) * 100

    def sample(conditions):
        asked = np.array([c["ventricles"] for c in conditions])
        return np.where(asked < top, asked, 2 * top - asked)[:, None] + noise[: len(asked), None]

    return sample


def test_extrapolation_says_how_far_the_answers_rise():
    others = [{"age": 20 + 10 * i, "ventricles": 5} for i in range(5)]
    faithful, limited = (
        fidelity.extrapolate(saturating(top), lambda x: x[:, 0], VENTRICLES, others) for top in (1e9, 50000)
    )
    np.testing.assert_allclose(faithful.requested[[0, -1]], [4000 - 0.3 * 60000, 4000 + 1.3 * 60000])
    assert faithful.measured.shape == (9, 5)
    assert (faithful.monotone_from, faithful.monotone_to, faithful.rank_correlation) == (-0.3, 1.3, pytest.approx(1))
    assert (limited.monotone_from, limited.monotone_to) == (-0.3, 0.7)
    assert limited.rank_correlation < 1
    assert limited.to_json()["monotone_to"] == 0.7
    assert faithful.monotone
    assert not limited.monotone
    np.testing.assert_allclose(faithful.kendall, 1)
    assert (limited.kendall < 0.8).all()
    again = fidelity.Extrapolation.from_json(limited.to_json())
    np.testing.assert_array_equal(again.measured, limited.measured)
    assert "rises from -0.3 to 0.7 of its range (asked for from -0.3 to 1.3: not monotone" in again.describe("x")
    np.testing.assert_allclose(faithful.means - faithful.requested, faithful.means[0] - faithful.requested[0])


@pytest.mark.parametrize(("others", "fractions", "words"), [([{}], (0, 1), "at least 3"), ([], (0, 0.5, 1), "none")])
def test_bad_requests_are_refused(others, fractions, words):
    with pytest.raises(InputError, match=words):
        fidelity.extrapolate(saturating(1), lambda x: x[:, 0], VENTRICLES, others, fractions)
