"""PCA-Gauss recovers a linear Gaussian world exactly, and its sampling has no hidden state."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from brain_diffusion_jax.covariates import Categorical, Condition, Continuous, Schema
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation.metrics import pca_gauss

SCHEMA = Schema((Continuous("volume", "a.u.", 0, 100), Categorical("site", ("a", "b", "c"))))
KEY = jax.random.key(0)


def world(count, seed, noise=0.02):
    """Images whose first half follows the volume, the second the site; and noise of known covariance."""
    rng = np.random.default_rng(seed)
    conditions = [{"volume": rng.uniform(0, 100), "site": "abc"[rng.integers(3)]} for _ in range(count)]
    images = np.full((count, 4, 3, 2, 1), 0.5)
    for image, condition in zip(images, conditions, strict=True):
        image[:2] += 0.3 * (condition["volume"] / 100 - 0.5) + noise * rng.normal()
        image[2:] += {"a": -0.1, "b": 0.0, "c": 0.2}[condition["site"]]
    return images.astype(np.float32), conditions


def test_conditions_are_followed_and_residuals_have_their_spread():
    images, conditions = world(400, 0)
    model = pca_gauss.fit(images, SCHEMA.encode(conditions), SCHEMA.cardinalities)
    assert len(model.components.basis) <= 3
    asked = [{"volume": 80, "site": "c"}] * 3000
    samples = model.sample(SCHEMA.encode(asked), KEY)
    assert samples.shape == (3000, 4, 3, 2, 1)
    assert samples.dtype == np.float32
    assert samples[:, :2].mean() == pytest.approx(0.5 + 0.3 * 0.3, abs=0.003)
    assert samples[:, 2:].mean() == pytest.approx(0.7, abs=0.003)
    assert samples[:, 0, 0, 0, 0].std() == pytest.approx(0.02, rel=0.1)
    assert samples[:, 3, 0, 0, 0].std() < 1e-3


def test_beyond_the_range_it_goes_on_linearly():
    images, conditions = world(200, 1, noise=0.0)
    model = pca_gauss.fit(images, SCHEMA.encode(conditions), SCHEMA.cardinalities)
    condition = Condition(np.array([[1.3, 0.0]]), np.ones((1, 2), bool))
    assert model.sample(condition, KEY)[0, 0].mean() == pytest.approx(0.5 + 0.3 * 0.8, abs=1e-3)


def test_an_absent_covariate_is_its_mean():
    images, conditions = world(300, 2)
    some = [{k: v for k, v in c.items() if k != "volume" or i % 3} for i, c in enumerate(conditions)]
    model = pca_gauss.fit(images, SCHEMA.encode(some), SCHEMA.cardinalities)
    mean = np.mean([c["volume"] for c in some if "volume" in c])
    given, absent = (model.mean_scores(SCHEMA.encode([c])) for c in ({"volume": mean, "site": "a"}, {"site": "a"}))
    np.testing.assert_allclose(given, absent, atol=1e-5)


def test_an_image_depends_on_key_place_and_condition_alone():
    images, conditions = world(60, 3)
    model = pca_gauss.fit(images, SCHEMA.encode(conditions), SCHEMA.cardinalities, components=2)
    whole = model.sample(SCHEMA.encode(conditions[:5]), KEY)
    part = model.sample(SCHEMA.encode(conditions[3:5]), KEY, start=3)
    np.testing.assert_allclose(whole[3:], part, atol=1e-6)
    assert np.abs(whole - model.sample(SCHEMA.encode(conditions[:5]), jax.random.key(1))).max() > 1e-3
    assert whole.min() >= 0
    assert whole.max() <= 1


def test_colour_slices_without_conditions():
    rng = np.random.default_rng(0)
    images = rng.uniform(0.3, 0.7, (30, 6, 5, 3)).astype(np.float32)
    condition = Schema(()).encode([{}] * 30)
    model = pca_gauss.fit(images, condition, (), components=29)
    samples = model.sample(Schema(()).encode([{}] * 500), KEY)
    np.testing.assert_allclose(samples.mean(0), images.mean(0), atol=0.03)
    np.testing.assert_allclose(samples.std(0), images.std(0, ddof=1), rtol=0.2)


def test_bad_training_sets_are_refused():
    images, conditions = world(4, 4)
    with pytest.raises(InputError, match="found 3; expected 4"):
        pca_gauss.fit(images, SCHEMA.encode(conditions[:3]), SCHEMA.cardinalities)
    with pytest.raises(InputError, match="more than"):
        pca_gauss.fit(images[:2], SCHEMA.encode(conditions[:2]), SCHEMA.cardinalities)
