"""Random changes of images: off is off, nothing leaves [0, 1], shear is a shear."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.training.augmentation import Augmentation, augment


def test_augmentation_off_changes_nothing_and_stays_in_range():
    image = jax.random.uniform(jax.random.key(0), (20, 16, 1))
    off = Augmentation(0, 0, 0, 0, 0, 0, 0)
    np.testing.assert_allclose(augment(image, jax.random.key(1), off), image, atol=1e-5)
    flipped = augment(image, jax.random.key(1), Augmentation(0, 0, 0, 0, 0, 0, 1.0))
    np.testing.assert_allclose(flipped, image[:, ::-1], atol=1e-5)
    strong = augment(image, jax.random.key(2), Augmentation(20, 0.1, 0.2, 0.5, 0.5, 0.2, 0.5))
    assert not np.allclose(strong, image)
    assert 0 <= float(strong.min()) <= float(strong.max()) <= 1
    other = augment(image, jax.random.key(3), Augmentation())
    assert not np.allclose(augment(image, jax.random.key(4), Augmentation()), other)
    with pytest.raises(InputError, match="mirror"):
        Augmentation(mirror=2.0)


def test_shear_moves_the_top_against_the_bottom():
    image = jnp.zeros((21, 21, 1)).at[:, 10].set(1.0)
    sheared = augment(image, jax.random.key(0), Augmentation(0, 0, 0, 0, 0, 0, 0.0, shear=0.4))
    columns = (sheared[..., 0] * jnp.arange(21)).sum(1) / sheared[..., 0].sum(1)
    slopes = jnp.diff(columns)
    assert jnp.ptp(slopes) < 0.05
    assert abs(slopes.mean()) > 0.01
    np.testing.assert_allclose(columns[10], 10.0, atol=1e-3)


def test_a_volume_is_mirrored_along_x_and_moved_whole():
    x = jnp.asarray(np.random.default_rng(0).uniform(0.2, 0.8, (6, 5, 4, 1)), jnp.float32)
    off = dict(rotation=0, shift=0, scale=0, gain=0, gamma=0, noise=0)
    mirrored = augment(x, jax.random.key(0), Augmentation(**off, mirror=1.0))
    np.testing.assert_allclose(mirrored, x[::-1], atol=1e-6)
    blob = jnp.zeros((9, 9, 9, 1)).at[3:6, 3:6, 3:6].set(0.5)
    moved = augment(blob, jax.random.key(1), Augmentation(**{**off, "rotation": 20.0, "scale": 0.02}, mirror=0.0))
    assert 0.05 < np.abs(moved - blob).max() <= 0.5
    np.testing.assert_allclose(moved.sum(), blob.sum(), rtol=0.15)
