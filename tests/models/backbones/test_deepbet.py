"""deepbet's encoder: sizes of its maps, what goes in, and what it cannot read."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.models.backbones.deepbet import WIDTHS, DeepbetEncoder, prepare_input


def shapes(stages: int, *size: int):
    x = np.zeros((2, *size), np.float32)
    return [m.shape[1:] for m in jax.eval_shape(DeepbetEncoder(stages).init_with_output, jax.random.key(0), x)[0]]


def test_maps_are_a_quarter_and_halves_of_that():
    assert shapes(4, 64, 80, 50, 1) == [(16, 20, 13, 16), (8, 10, 7, 32), (4, 5, 4, 64), (2, 3, 2, 128)]
    assert shapes(2, 64, 80, 50, 1) == [(16, 20, 13, WIDTHS[0]), (8, 10, 7, WIDTHS[1])]


def test_what_it_cannot_read_is_named():
    with pytest.raises(InputError, match=r"deepbet: images: found shape \[2, 64, 64, 1\].*expected volumes"):
        shapes(3, 64, 64, 1)
    with pytest.raises(InputError, match="volumes"):
        shapes(3, 32, 32, 32, 3)
    with pytest.raises(InputError, match="an axis of more than 16 voxels"):
        shapes(3, 16, 16, 12, 1)
    assert shapes(3, 17, 16, 12, 1)[-1] == (2, 1, 1, 64)
    with pytest.raises(InputError, match="stages: found 5"):
        shapes(5, 64, 64, 64, 1)


def test_inputs_are_clipped_and_scaled():
    volumes = np.random.default_rng(0).uniform(size=(2, 9, 10, 12, 1)).astype(np.float32)
    volumes[0, :2, 0, 0, 0] = -50, 90  # two of 1080 voxels: beyond the quantiles
    found = np.asarray(prepare_input(volumes))
    np.testing.assert_allclose(found.mean((1, 2, 3, 4)), 0.449, atol=1e-5)
    np.testing.assert_allclose(found.std((1, 2, 3, 4), ddof=1), 0.226, atol=1e-5)
    np.testing.assert_allclose(found, prepare_input(3 * volumes + 1), atol=1e-4)
    low, high = np.quantile(volumes[0], [0.005, 0.995])
    clipped = np.clip((volumes[0] - low) / (high - low), 0, 1)
    np.testing.assert_allclose(found[0], 0.226 * (clipped - clipped.mean()) / clipped.std(ddof=1) + 0.449, atol=1e-5)
    np.testing.assert_allclose(prepare_input(np.full((1, 4, 4, 4, 1), 0.3, np.float32)), 0.449, atol=1e-5)
