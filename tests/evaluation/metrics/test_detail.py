"""Gradient energy, radial spectrum and their ratios between sets."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from similar_images import blobs

from brain_diffusion_jax.evaluation.metrics.detail import Detail, detail_ratios, metrics_of_detail
from brain_diffusion_jax.evaluation.metrics.gradient_energy import gradient_energy
from brain_diffusion_jax.evaluation.metrics.spectrum import radial_spectrum


@pytest.mark.parametrize("dims", [2, 3])
def test_a_slope_has_the_gradient_of_its_length(dims):
    ramp = sum(np.meshgrid(*[np.arange(9.0)] * dims, indexing="ij")) / 100
    images = np.stack([ramp, ramp / 2])[..., None].repeat(2, -1).astype(np.float32)
    np.testing.assert_allclose(gradient_energy(images), np.array([1, 0.5]) * np.sqrt(dims) / 100, rtol=1e-4)
    stored = np.round(images * 255).astype(np.uint8)
    np.testing.assert_allclose(gradient_energy(stored), gradient_energy(images), rtol=0.02)


@pytest.mark.parametrize("spatial", [(32, 24), (16, 20, 13)])
@pytest.mark.parametrize("wave", [0.1, 0.45, 0.9])
def test_a_wave_lies_in_the_band_of_its_frequency(spatial, wave):
    """cos(pi k (2 i + 1) / (2 n)) along one axis: k / n of Nyquist."""
    axis = len(spatial) - 1
    n, k = spatial[axis], round(wave * spatial[axis])
    line = 0.5 + 0.4 * np.cos(np.pi * k * (2 * np.arange(n) + 1) / (2 * n))
    image = np.broadcast_to(line, spatial).astype(np.float32)[None, ..., None]
    found = radial_spectrum(image, 8)[0]
    assert found.argmax() == int(k / n * 8)
    assert found.max() > 1e3 * np.sort(found)[-2]


@pytest.mark.parametrize("spatial", [(31, 24), (13, 12, 14)])
def test_white_noise_is_flat_and_energy_is_that_of_the_pixels(spatial):
    noise = (0.5 + 0.1 * np.random.default_rng(0).normal(size=(40, *spatial, 1))).astype(np.float32)
    np.testing.assert_allclose(radial_spectrum(noise, 6).mean(0), 0.01, rtol=0.1)


def test_ratios_say_blur_and_noise_with_intervals():
    real = blobs((24, 26, 24, 1), 0)
    people = [str(i) for i in range(24)]
    blurred = gaussian_filter(real, (0, 1, 1, 0))
    noisy = np.clip(real + np.random.default_rng(1).normal(size=real.shape) * 0.03, 0, 1).astype(np.float32)
    of_real = Detail.of(real, people, 4)
    found = {name: detail_ratios(Detail.of(x, people, 4), of_real) for name, x in (("blur", blurred), ("noise", noisy))}
    top = "spectrum ratio 0.75-1.00"
    assert list(found["blur"]) == [str(metric) for metric in metrics_of_detail(4)]
    assert [str(metric) for metric in metrics_of_detail(2)][1:] == [
        "spectrum ratio 0.00-0.50",
        "spectrum ratio 0.50-1.00",
    ]
    for key in ("gradient energy ratio", top):
        assert found["blur"][key]["high"] < 1 < found["noise"][key]["low"]
        assert found["blur"][key]["low"] < found["blur"][key]["value"] < found["blur"][key]["high"]
    same = detail_ratios(of_real, of_real, matched=True)
    assert all(number["value"] == number["low"] == number["high"] == 1 for number in same.values())
