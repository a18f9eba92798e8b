"""The kernel distance follows its formula."""

from __future__ import annotations

import numpy as np
import pytest

from brain_diffusion_jax.evaluation.metrics.kid import mmd2


def test_kid_is_unbiased_and_follows_its_formula():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(12, 5)), rng.normal(size=(9, 5)) + 1

    def kernel(a, b):
        return (a @ b / 5 + 1) ** 3

    def mean(pairs):
        return np.mean([kernel(a, b) for a, b in pairs])

    expected = mean([(x[i], x[j]) for i in range(12) for j in range(12) if i != j])
    expected += mean([(y[i], y[j]) for i in range(9) for j in range(9) if i != j])
    expected -= 2 * mean([(a, b) for a in x for b in y])
    assert mmd2(x, y) == pytest.approx(expected)
    equal = [mmd2(rng.normal(size=(20, 5)), rng.normal(size=(20, 5))) for _ in range(200)]
    assert abs(np.mean(equal)) < 3 * np.std(equal) / np.sqrt(200)  # no bias from the number of pictures
