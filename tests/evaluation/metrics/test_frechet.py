"""The Frechet distance against SciPy's eigenvalues, closed forms, and rank deficiency."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import linalg

from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation.metrics.frechet import frechet_distance
from brain_diffusion_jax.evaluation.probes.pixel_probe import block_means


def with_scipy(x, y):
    """The formula of pytorch-fid; the root's trace from eigenvalues, as SciPy 1.18's sqrtm is NaN where pixels are
    constant."""
    cov_x, cov_y = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = np.sqrt(linalg.eigvals(cov_x @ cov_y).real.clip(0)).sum()
    return float(((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(cov_x + cov_y) - 2 * root)


def test_equals_scipy_on_correlated_features():
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(20, 20))
    x, y = rng.normal(size=(300, 20)) @ mixing, rng.normal(size=(200, 20)) @ mixing.T + 0.3
    assert frechet_distance(x, y) == pytest.approx(with_scipy(x, y), rel=1e-9)


@pytest.mark.realdata
def test_equals_scipy_on_real_features(real_data):
    with np.load(real_data("oasis1_mni2mm") / "axial_slices_u8.npz") as file:
        features = block_means(file["images"][:, 2]).astype(np.float64)[:, ::8]
    first, second = features[:164], features[164:]
    assert abs(frechet_distance(first, second) - with_scipy(first, second)) < 1e-6


def test_closed_form_of_two_gaussians():
    """Commuting covariances: |mean|^2 + sum (s - t)^2 of the standard deviations."""
    rng = np.random.default_rng(1)
    base = rng.normal(size=(50, 4))
    base = np.linalg.qr(base - base.mean(0))[0] * 7  # empirical covariance is exactly 1
    scales = np.array([1.0, 2.0, 0.5, 3.0])
    shift = np.array([1.0, -2.0, 0.0, 0.5])
    assert frechet_distance(base, base * scales + shift) == pytest.approx((shift**2).sum() + ((scales - 1) ** 2).sum())


@pytest.mark.parametrize("count", [3, 10])
def test_exact_when_pictures_are_fewer_than_dimensions(count):
    """Points in a subspace give the distance inside that subspace, whatever space surrounds it."""
    rng = np.random.default_rng(2)
    small_x, small_y = rng.normal(size=(count, 2)), rng.normal(size=(count, 2)) + 1
    directions = np.linalg.qr(rng.normal(size=(400, 2)))[0].T
    wide = frechet_distance(small_x @ directions, small_y @ directions)
    assert wide == pytest.approx(with_scipy(small_x, small_y), rel=1e-9, abs=1e-10)
    assert frechet_distance(small_x @ directions, small_x @ directions) < 1e-12


@pytest.mark.parametrize(
    ("features", "words"),
    [
        (np.zeros((0, 3)), "shape"),
        (np.array([[1.0, np.nan], [0.0, 1.0]]), "NaN or Inf in 1 of 2"),
        (np.zeros((1, 2)), "found 1; expected at least 2"),
        (np.zeros((4, 3)), "dimensions"),
    ],
)
def test_bad_features_are_refused(features, words):
    with pytest.raises(InputError, match=words):
        frechet_distance(features, np.eye(2))
