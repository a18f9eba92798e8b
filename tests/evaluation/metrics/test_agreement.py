"""Agreement with what was asked for, its correction for regression to the mean, and fidelity to words."""

from __future__ import annotations

import numpy as np
import pytest

from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation.metrics import agreement as measured


def test_agreement_of_a_known_line_and_its_correction():
    age = np.linspace(20, 90, 50)
    found = measured.agreement(age, 0.5 * age + 30)
    assert (found.slope, found.intercept, found.r) == pytest.approx((0.5, 30, 1))
    assert found.bias == pytest.approx(30 - 0.5 * age.mean())
    assert found.rmse**2 == pytest.approx(found.mse)
    correction = measured.correction_of(age, 0.5 * age + 30)
    np.testing.assert_allclose(correction(0.5 * age + 30), age)
    flat = measured.agreement(age, np.full(50, 55.0))
    assert measured.correction_of(age, np.full(50, 55.0)) is None
    assert measured.correction_of(age[:2], age[:2]) is None
    assert measured.correction_of(age, 0.19 * age) is None  # it would multiply noise by more than five
    assert np.isnan(flat.r)


def test_majority_rate_stands_beside_accuracy():
    asked = np.array(["F"] * 6 + ["M"] * 4)
    assert measured.categorical_accuracy(asked, np.array(["F"] * 10)) == (0.6, 0.6)
    with pytest.raises(InputError, match="an empty set"):
        measured.categorical_accuracy(np.array([]), np.array([]))
