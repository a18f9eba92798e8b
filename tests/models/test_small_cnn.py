"""The soft histogram at the input of the small backbones, and their halvings, in two and three dimensions."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from brain_diffusion_jax.models.deep_brain_net import make_age_network
from brain_diffusion_jax.models.small_cnn import halve, tissue_fractions


def test_tissue_fractions_sum_to_one_and_ignore_faint_noise():
    images = jax.random.uniform(jax.random.key(1), (2, 16, 12, 1))
    fractions = tissue_fractions(images, 6, 0.1, 0.6) ** 2 - 1e-3
    assert fractions.shape == (2, 4, 3, 6)
    np.testing.assert_allclose(fractions.sum(-1), 1.0, atol=1e-5)
    half_and_half = jnp.full((1, 4, 4, 1), 0.15)  # between levels 0.1 and 0.2
    np.testing.assert_allclose(tissue_fractions(half_and_half, 6, 0.1, 0.6)[0, 0, 0, :2] ** 2, 0.501, atol=1e-4)
    faint = tissue_fractions(jnp.zeros((1, 4, 4, 1)) + 0.09, 6, 0.1, 0.6)
    np.testing.assert_array_equal(faint, tissue_fractions(jnp.zeros((1, 4, 4, 1)), 6, 0.1, 0.6))


def test_volumes_are_slices_with_a_third_axis():
    slices = jax.random.uniform(jax.random.key(2), (2, 13, 10, 1))
    volumes = jnp.repeat(slices[:, :, :, None], 8, axis=3)
    flat, deep = tissue_fractions(slices, 5, 0.1, 0.6), tissue_fractions(volumes, 5, 0.1, 0.6)
    np.testing.assert_allclose(deep, jnp.repeat(flat[:, :, :, None], 2, axis=3), atol=1e-5)
    np.testing.assert_array_equal(halve(deep)[:, :, :, 0], halve(flat))
    np.testing.assert_array_equal(halve(flat)[0, 0, 0], flat[0, :2, :2].max((0, 1)))


def test_the_network_of_volumes_reads_volumes():
    network = make_age_network(backbone="small_volume_cnn", width=0.1, backbone_options={"tissue_bins": 4})
    x = jax.random.uniform(jax.random.key(3), (2, 20, 17, 16, 1))
    variables = network.init(jax.random.key(4), x)
    assert variables["params"]["trunk"]["conv1"]["kernel"].shape == (3, 3, 3, 4, 5)
    years = network.apply(variables, x)
    moved = network.apply(variables, x.at[1].multiply(0.5))
    assert years[0] == moved[0]
    assert years[1] != moved[1]
