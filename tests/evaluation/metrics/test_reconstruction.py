"""PSNR whole and inside the brain, and the row of an autoencoder's table."""

from __future__ import annotations

import numpy as np
import pytest
from similar_images import blobs

from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation.metrics.reconstruction import paired_psnr, reconstruction_numbers


@pytest.mark.parametrize("shape", [(3, 15, 14, 3), (3, 9, 10, 8, 1)])
def test_psnr_equals_scikit_image_and_the_inside_its_own_pixels(shape):
    from skimage.metrics import peak_signal_noise_ratio

    original, rebuilt = blobs(shape, 0), blobs(shape, 1)
    whole, inside = paired_psnr(original, rebuilt)
    for i in range(3):
        assert whole[i] == pytest.approx(peak_signal_noise_ratio(original[i], rebuilt[i], data_range=1), abs=1e-5)
        brain = original[i].any(-1)
        assert 0 < brain.mean() < 1
        expected = peak_signal_noise_ratio(original[i][brain], rebuilt[i][brain], data_range=1)
        assert inside[i] == pytest.approx(expected, abs=1e-5)


def test_equal_and_empty_images():
    original = blobs((2, 9, 10, 1), 0)
    original[1] = 0
    whole, inside = paired_psnr(original, original)
    assert np.isposinf(whole).all()
    assert np.isposinf(inside[0])
    assert np.isnan(inside[1])
    with pytest.raises(InputError, match="second set: images"):
        paired_psnr(original, original[:1])


def test_numbers_of_a_blurred_set():
    from scipy.ndimage import gaussian_filter

    original = blobs((6, 16, 18, 15, 1), 0)
    found = reconstruction_numbers(original, gaussian_filter(original, (0, 1, 1, 1, 0)), list("aabbcc"), replicates=20)
    assert list(found)[:4] == ["PSNR", "PSNR in brain", "SSIM7", "MS-SSIM7[2]"]
    assert found["PSNR"]["value"] > found["PSNR in brain"]["value"]
    assert found["PSNR"]["low"] < found["PSNR"]["value"] < found["PSNR"]["high"]
    assert 0 < found["SSIM7"]["value"] < found["MS-SSIM7[2]"]["value"] < 1
    assert found["gradient energy ratio"]["value"] < 0.9
    assert found["spectrum ratio 0.88-1.00"]["value"] < found["spectrum ratio 0.00-0.12"]["value"] < 1
