"""Dark fractions, tissue and symmetry: closed forms, and the real relation of OASIS-1."""

from __future__ import annotations

import numpy as np
import pytest

from brain_diffusion_jax.contract import Contract, Intensity
from brain_diffusion_jax.covariates import Schema
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation.metrics import anatomy

OASIS = {"rows": (30, 85), "cols": (28, 63), "threshold": 0.45}


def contract(**intensity):
    return Contract(Schema(()), (109, 91), intensity=Intensity(**intensity))


@pytest.mark.realdata
def test_dark_fraction_of_real_people(real_slices):
    """The numbers of the issue: 244 scans, Spearman 0.67, 0.08 under 30 and 0.31 over 75."""
    images, ages, _ = real_slices
    assert len(images) == 244
    check = anatomy.dark_fraction(OASIS, contract(rule="fixed", low=0.0, high=2.55), images)
    dark = check(images)
    assert round(anatomy.spearman(ages, dark), 2) == 0.67
    assert tuple(round(v, 2) for v in anatomy.young_and_old(ages, dark)) == (0.08, 0.31)
    np.testing.assert_array_equal(check(images.astype(np.float32) / 255), dark)  # same pixels, same answer
    unit = images[..., None] / 255.0
    fractions = anatomy.tissue_fractions(unit, anatomy.tissue_thresholds(unit))
    assert anatomy.spearman(ages, fractions[:, 0]) > 0.6
    assert 0.85 < np.median(anatomy.symmetry(unit)) < 1


def test_dark_fraction_counts_pixels():
    picture = np.full((1, 109, 91), 45, np.uint8)
    check = anatomy.dark_fraction(OASIS, contract(rule="fixed", low=0.0, high=2.55), picture)
    assert check(picture)[0] == 0  # 45 is not below 45
    picture[0, 30:85, 28:35] = 44
    assert check(picture)[0] == pytest.approx(7 / 35)
    picture[0, :30] = 0
    assert check(picture)[0] == pytest.approx(7 / 35)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"rowz": (1, 2)}, "rowz"),
        ({**OASIS, "rows": (30, 200)}, "a box inside"),
        (OASIS, "percentile"),
    ],
)
def test_bad_dark_fraction_settings(spec, words):
    pictures = np.zeros((1, 109, 91), np.uint8)
    rule = {"rule": "percentile"} if words == "percentile" else {"rule": "fixed", "low": 0, "high": 2.55}
    with pytest.raises(InputError, match=words):
        anatomy.dark_fraction(spec, contract(**rule), pictures)(pictures)


def test_spearman_equals_scipy_with_ties():
    from scipy.stats import spearmanr

    x = [1, 2, 2, 3, 5, 5, 5, 9]
    y = [2, 1, 4, 4, 3, 8, 7, 7]
    assert anatomy.spearman(x, y) == pytest.approx(spearmanr(x, y).statistic)
    assert np.isnan(anatomy.spearman([1, 1, 1], [1, 2, 3]))


def test_symmetry_and_tissue_of_drawn_heads():
    y, x = np.mgrid[:60, :50]
    head = (np.hypot((y - 30) / 25, (x - 22) / 18) < 1) * 0.8  # off the middle: the head is centred first
    assert anatomy.symmetry(head[None, ..., None])[0] == pytest.approx(1, abs=1e-9)
    lopsided = head * np.where(x > 22, 1, 0.3)
    assert anatomy.symmetry(lopsided[None, ..., None])[0] < 0.5
    fractions = anatomy.tissue_fractions(np.stack([head, lopsided])[..., None], (0.1, 0.5))
    np.testing.assert_allclose(fractions.sum(1), 1)
    assert fractions[0, 2] == 1
    assert fractions[1, 1] == pytest.approx(0.5, abs=0.05)


def test_symmetry_of_a_volume_is_along_its_first_axis():
    rng = np.random.default_rng(0)
    half = rng.uniform(0.3, 1, (2, 5, 8, 6, 1))
    volumes = np.zeros((2, 14, 10, 8, 1))
    volumes[:, 3:13, 1:9, 1:7] = np.concatenate([half, half[:, ::-1]], axis=1)  # off the middle
    np.testing.assert_allclose(anatomy.symmetry(volumes), 1, atol=1e-9)
    assert (anatomy.symmetry(volumes.swapaxes(1, 2)) < 0.9).all()
    fractions = anatomy.tissue_fractions(volumes, (0.5, 0.8))
    np.testing.assert_allclose(fractions[0, 0], (half[0] < 0.5).mean(), atol=1e-9)


@pytest.mark.parametrize("shape", [(20, 18, 3), (20, 18, 9, 1)])
def test_what_is_grey_or_flat_names_other_shapes(shape):
    images = np.full((2, *shape), 0.5)
    with pytest.raises(InputError, match=r"dark_fraction: image shape: found \(20, 18"):
        anatomy.dark_fraction(None, None, images)
    with pytest.raises(InputError, match=r"dark_fraction: image shape: found \(20, 18"):
        anatomy.DarkFraction((1, 3), (1, 3), 0.5)(images)
    if shape[-1] == 3:
        with pytest.raises(InputError, match="tissue fractions: image shape"):
            anatomy.tissue_thresholds(images)
