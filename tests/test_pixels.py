"""Stored and unit pixels: one rounding everywhere, in numpy and in JAX."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from brain_diffusion_jax import pixels
from brain_diffusion_jax.errors import InputError

STORED = np.arange(256, dtype=np.uint8)


@pytest.mark.parametrize("kind", [np.asarray, jnp.asarray])
def test_every_stored_value_comes_back(kind):
    unit = pixels.to_unit(kind(STORED))
    assert unit.dtype == np.float32
    # XLA multiplies by the reciprocal of 255: up to one unit in the last place.
    np.testing.assert_array_max_ulp(np.asarray(unit), STORED / np.float32(255), maxulp=1)
    assert np.array_equal(pixels.to_uint8(unit), STORED)
    assert np.array_equal(pixels.to_uint8(kind(STORED)), STORED)


def test_under_jit_as_outside():
    unit = np.random.default_rng(0).uniform(-0.2, 1.2, (4, 5)).astype(np.float32)
    assert np.array_equal(jax.jit(pixels.to_uint8)(unit), pixels.to_uint8(unit))
    assert np.array_equal(pixels.to_uint8(unit), np.round(np.clip(unit, 0, 1) * 255).astype(np.uint8))


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", jnp.bfloat16])
def test_floats_are_unit_already(dtype):
    unit = np.array([0.0, 0.5, 1.0]).astype(dtype)
    assert pixels.to_unit(unit).tolist() == [0.0, 0.5, 1.0]


@pytest.mark.parametrize("dtype", ["uint16", "int32", "bool"])
def test_other_integers_have_no_known_scale(dtype):
    with pytest.raises(InputError, match="dtype"):
        pixels.to_unit(np.zeros(3, dtype))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_never_stored(bad):
    with pytest.raises(InputError, match="NaN"):
        pixels.to_uint8(np.array([0.5, bad]))


def test_eight_bit_rounds_in_the_type_it_gets():
    unit = np.random.default_rng(0).random((3, 4))
    rounded = pixels.eight_bit(unit)
    assert rounded.dtype == unit.dtype
    assert np.array_equal(rounded, np.rint(255 * unit) / 255)
