"""Crops and small changes: of each sample alone, inside [0, 1], and exact where they must be."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.tasks.autoencoder import augmentation
from brain_diffusion_jax.tasks.autoencoder.augmentation import IntensityAndPlace

augment = jax.jit(augmentation.augment, static_argnums=(2, 3))
crop = jax.jit(augmentation.crop, static_argnums=2)
IMAGE = jnp.asarray(np.random.default_rng(0).random((7, 5, 6, 1)), jnp.float32)
STILL = IntensityAndPlace(mirror=0, shift=0, scale=0, offset=0, gamma=0, share=1)


def test_a_crop_is_a_part_and_every_place_comes():
    seen = set()
    for seed in range(60):
        part = np.asarray(crop(IMAGE, jax.random.key(seed), 5))
        assert part.shape == (5, 5, 5, 1)
        places = [(i, k) for i in range(3) for k in range(2) if np.array_equal(part, IMAGE[i : i + 5, :, k : k + 5])]
        assert len(places) == 1
        seen |= set(places)
    assert seen == {(i, k) for i in range(3) for k in range(2)}


def test_what_is_off_changes_nothing():
    np.testing.assert_allclose(augment(IMAGE, jax.random.key(0), STILL, 0), IMAGE, atol=1e-6)
    off = IntensityAndPlace(mirror=0, share=0)
    np.testing.assert_array_equal(augment(IMAGE, jax.random.key(0), off, 0), IMAGE)
    # A share that misses a sample leaves it as it was.
    rare = IntensityAndPlace(mirror=0, share=1e-9)
    np.testing.assert_allclose(augment(IMAGE, jax.random.key(0), rare, 0), IMAGE, atol=1e-6)


def test_a_flip_is_along_its_axis_and_there_is_none_without_one():
    always = IntensityAndPlace(mirror=1, share=0)
    np.testing.assert_array_equal(augment(IMAGE, jax.random.key(0), always, 0), IMAGE[::-1])
    np.testing.assert_array_equal(augment(IMAGE, jax.random.key(0), always, 1), IMAGE[:, ::-1])
    np.testing.assert_array_equal(augment(IMAGE, jax.random.key(0), always, None), IMAGE)


def test_shifts_and_scales_are_linear_interpolation():
    ramp = jnp.broadcast_to(jnp.arange(9.0)[:, None, None] / 10, (9, 4, 1))
    moved = IntensityAndPlace(mirror=0, shift=1.0, scale=0.0, offset=0, gamma=0, share=1)
    inner = np.asarray(augment(ramp, jax.random.key(3), moved, None))[2:-2, 0, 0]
    steps = np.unique(np.round(inner - np.asarray(ramp)[2:-2, 0, 0], 5))
    assert len(steps) == 1  # one shift for all
    assert 0 < abs(steps[0]) <= 0.1  # at most one pixel of 0.1
    zoomed = IntensityAndPlace(mirror=0, shift=0.0, scale=0.2, offset=0, gamma=0, share=1)
    found = np.asarray(augment(ramp, jax.random.key(1), zoomed, None))[2:-2, 0, 0] - 0.4
    ratio = found[found != 0] / (np.asarray(ramp)[2:-2, 0, 0] - 0.4)[found != 0]
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-4)  # about the centre
    assert 0.8 <= ratio[0] <= 1.2


def test_it_stays_inside_and_depends_on_the_key_alone():
    strong = IntensityAndPlace(offset=1.0, gamma=0.5, share=1)
    found = [augment(IMAGE, jax.random.key(s), strong, 0) for s in (0, 0, 1)]
    np.testing.assert_array_equal(found[0], found[1])
    assert not np.allclose(found[0], found[2])
    assert all(float(f.min()) >= 0 and float(f.max()) <= 1 for f in found)


@pytest.mark.parametrize(("name", "value"), [("mirror", 2), ("share", -0.1), ("scale", 0.9), ("gamma", 1.0)])
def test_settings_out_of_bounds_are_named(name, value):
    with pytest.raises(InputError, match=f"augmentation.{name}"):
        IntensityAndPlace(**{name: value})
