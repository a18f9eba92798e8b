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
