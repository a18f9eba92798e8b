"""Inception-style score, fidelity and distances of classes at equal numbers."""

from __future__ import annotations

import numpy as np
import pytest

from brain_diffusion_jax.evaluation.metrics import class_measures


def test_score_runs_from_one_to_the_number_of_classes():
    confident = np.eye(4)[np.arange(40) % 4]
    assert class_measures.inception_style_score(confident) == pytest.approx(4.0)
    assert class_measures.inception_style_score(np.full((40, 4), 0.25)) == pytest.approx(1.0)
    assert class_measures.inception_style_score(confident[:1].repeat(40, 0)) == pytest.approx(1.0)


def test_measures_use_equal_numbers_and_know_the_classes():
    rng = np.random.default_rng(0)
    features = rng.standard_normal((90, 4))
    asked = np.arange(90) % 3
    real, labels = rng.standard_normal((40, 4)), np.r_[np.zeros(20), np.ones(10), np.full(10, 2)].astype(int)
    row = class_measures.measure(features, np.eye(3)[asked], asked, real, labels, ("a", "b", "c"))
    assert row["pictures"] == 40
    assert row["fidelity"] == 1.0
    assert [row["by_class"][w]["pictures"] for w in "abc"] == [20, 10, 10]
    far = class_measures.measure(features + 3, np.eye(3)[asked], (asked + 1) % 3, real, labels, ("a", "b", "c"))
    assert far["frechet"] > row["frechet"] + 20
    assert far["fidelity"] == 0.0
    assert np.trace(far["confusion"]) == 0
    assert "| set |" in class_measures.table({"x": row, "y": far})
