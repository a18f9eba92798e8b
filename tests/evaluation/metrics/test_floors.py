"""Low-pass, principal components and the training mean as reconstructions."""

from __future__ import annotations

import numpy as np
import oasis_volumes
import pytest
from similar_images import blobs

from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation.metrics import floors
from brain_diffusion_jax.evaluation.metrics.components import principal_components
from brain_diffusion_jax.evaluation.metrics.reconstruction import paired_psnr


def test_the_box_has_the_proportions_of_the_image():
    assert floors.low_pass_box((80, 96, 80), 9600) == (20, 24, 20)
    assert floors.low_pass_box((80, 96, 80), 38400) == (32, 38, 32)
    assert floors.low_pass_box((109, 91), 109 * 91) == (109, 91)
    assert floors.low_pass_box((109, 91), 10**6) == (109, 91)
    assert floors.low_pass_box((50, 3), 2) == (6, 1)


@pytest.mark.parametrize("shape", [(2, 17, 14, 3), (2, 9, 10, 8, 1)])
def test_low_pass_keeps_what_is_smooth_and_everything_at_full_size(shape):
    images = blobs(shape, 0)
    pixels = int(np.prod(shape[1:]))
    np.testing.assert_allclose(floors.low_pass(images, pixels), images, atol=1e-5)
    errors = [np.square(floors.low_pass(images, n) - images).mean() for n in (3, pixels // 27, pixels // 4, pixels)]
    assert errors == sorted(errors, reverse=True)
    smooth = np.empty(shape, np.float32)
    spatial = shape[1:-1]
    grid = np.cos(np.pi * (2 * np.arange(spatial[0]) + 1) / (2 * spatial[0]))
    smooth[:] = 0.5 + 0.3 * grid.reshape(1, -1, *[1] * (len(shape) - 2))
    np.testing.assert_allclose(floors.low_pass(smooth, pixels // 8), smooth, atol=1e-5)
    with pytest.raises(InputError, match="low pass: numbers"):
        floors.low_pass(blobs((1, 9, 9, 3), 0), 2)


def test_rows_of_the_table():
    train, held_out = blobs((12, 14, 15, 1), 0), blobs((5, 14, 15, 1), 1)
    found = floors.floors(train, held_out, list("abcde"), 60, components=5, replicates=10)
    assert list(found) == ["DCT low-pass of 56", "PCA-5", "training mean"]
    psnr = {name: numbers["PSNR"]["value"] for name, numbers in found.items()}
    assert psnr["PCA-5"] > psnr["training mean"]
    own = principal_components(train, 11)
    rebuilt = floors.from_components(train, own)
    assert paired_psnr(train, rebuilt)[0].min() > 60


@pytest.mark.slow
@pytest.mark.realdata
def test_real_floors_are_those_that_were_measured(real_data):
    """PSNR all / in brain of held-out people: low-pass 23.99 / 20.39 and 29.36 / 25.73, PCA-170 21.73 / 18.21, mean
    20.48 / 17.11. Here 24 other people are held out (people differ by 1 dB): levels agree to 0.7 dB, the step from all
    pixels to the brain to 0.2 dB, and the steps between floors, which people share, to 0.5 dB.
    """
    folder = real_data("oasis1_mni2mm")
    images = oasis_volumes.volumes(folder, oasis_volumes.people(folder)[: 171 + 24])
    held_out = images[:24]
    components = principal_components(images[24:], 170)
    mean = np.broadcast_to(components.mean, held_out.shape)
    sets = floors.low_pass(held_out, 9600), floors.low_pass(held_out, 38400)
    rebuilt = [*sets, floors.from_components(held_out, components), mean]
    found = np.array([[side.mean() for side in paired_psnr(held_out, x)] for x in rebuilt])
    expected = np.array([[23.99, 20.39], [29.36, 25.73], [21.73, 18.21], [20.48, 17.11]])
    np.testing.assert_allclose(found, expected, atol=0.7)
    np.testing.assert_allclose(np.diff(found, axis=1), np.diff(expected, axis=1), atol=0.2)
    np.testing.assert_allclose(np.diff(found, axis=0), np.diff(expected, axis=0), atol=0.5)
