"""The soft histogram at the input of the small backbone."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from brain_diffusion_jax.models.small_cnn import tissue_fractions


def test_tissue_fractions_sum_to_one_and_ignore_faint_noise():
    images = jax.random.uniform(jax.random.key(1), (2, 16, 12, 1))
    fractions = tissue_fractions(images, 6, 0.1, 0.6) ** 2 - 1e-3
    assert fractions.shape == (2, 4, 3, 6)
    np.testing.assert_allclose(fractions.sum(-1), 1.0, atol=1e-5)
    half_and_half = jnp.full((1, 4, 4, 1), 0.15)  # between levels 0.1 and 0.2
    np.testing.assert_allclose(tissue_fractions(half_and_half, 6, 0.1, 0.6)[0, 0, 0, :2] ** 2, 0.501, atol=1e-4)
    faint = tissue_fractions(jnp.zeros((1, 4, 4, 1)) + 0.09, 6, 0.1, 0.6)
    np.testing.assert_array_equal(faint, tissue_fractions(jnp.zeros((1, 4, 4, 1)), 6, 0.1, 0.6))
