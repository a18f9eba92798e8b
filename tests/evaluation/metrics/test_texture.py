"""Texture of images as stored, of every channel."""

from __future__ import annotations

import numpy as np
import pytest
from spots import make

from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation.metrics import texture


def test_texture_is_of_the_picture_as_stored_with_8_bits():
    images = make(6, 1).images
    rows = texture.texture(images)
    assert rows.shape[0] == 6
    np.testing.assert_array_equal(rows, texture.texture(np.rint(255 * images) / 255))


def test_texture_of_colours_is_that_of_each_channel_and_volumes_are_refused():
    colours = np.random.default_rng(0).random((3, 20, 18, 3))
    apart = [texture.texture(colours[..., c : c + 1]) for c in range(3)]
    np.testing.assert_array_equal(texture.texture(colours), np.hstack(apart))
    with pytest.raises(InputError, match=r"texture: image shape: found \(20, 18, 3, 1\)"):
        texture.texture(colours[..., None])
