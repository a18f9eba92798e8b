"""Recipes of terms."""

from __future__ import annotations

import jax.numpy as jnp

from brain_diffusion_jax.losses.weighted import Weighted, combine


def test_terms_are_weighed_and_begin_when_told():
    recipe = (Weighted("a", lambda x: x), Weighted("b", lambda x: x**2, -2.0, after_step=3))
    for update, expected in ((2, 5.0), (3, 5.0 - 50.0)):
        total, found = combine(recipe, jnp.int32(update), jnp.float32(5.0))
        assert float(total) == expected
        assert {name: float(value) for name, value in found.items()} == {"a": 5.0, "b": 25.0}
