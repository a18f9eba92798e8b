"""Patches as wavelets: orthonormal, exactly undone, and what Haar's definition says."""

from __future__ import annotations

import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.models.haar import haar_matrix, into_patches, out_of_patches
from brain_diffusion_jax.models.unet import UNet
from brain_diffusion_jax.models.unet_config import UNetConfig
from tests.models.random_weights import cheaply, randomised

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("patch", [1, 2, 4, 8])
def test_the_matrix_is_orthonormal_and_begins_with_the_mean(patch):
    matrix = haar_matrix(patch)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(patch), atol=1e-12)
    np.testing.assert_allclose(matrix[0], patch**-0.5)
    np.testing.assert_allclose(matrix[1:].sum(1), 0, atol=1e-12)


@pytest.mark.parametrize(("sizes", "patch"), [((4, 8), 2), ((8, 4), 4), ((4, 2, 6), 2), ((4, 8, 4), 4)])
def test_wavelets_keep_lengths_and_are_undone(sizes, patch):
    x = jnp.asarray(RNG.normal(size=(2, *sizes, 3)), jnp.float32)
    deep = into_patches(x, patch, "haar")
    assert deep.shape == (2, *(s // patch for s in sizes), 3 * patch ** len(sizes))
    np.testing.assert_allclose(jnp.square(deep).sum(), jnp.square(x).sum(), rtol=1e-6)
    np.testing.assert_allclose(out_of_patches(deep, patch, "haar"), x, atol=1e-6)


def test_the_eight_sub_bands_are_sums_and_differences_of_neighbours():
    x = RNG.normal(size=(1, 2, 2, 2, 1)).astype(np.float32)
    found = np.ravel(into_patches(jnp.asarray(x), 2, "haar"))
    for number, signs in enumerate(itertools.product((False, True), repeat=3)):
        wanted = sum(
            x[0, i, j, k, 0] * (-1.0) ** (i * signs[0] + j * signs[1] + k * signs[2])
            for i, j, k in itertools.product((0, 1), repeat=3)
        )
        np.testing.assert_allclose(found[number], wanted / np.sqrt(8), atol=1e-6)


def test_a_network_of_wavelets_is_one_of_pixels_with_other_first_and_last_weights():
    """It takes and gives the wavelets: H goes into the kernel of the first convolution, and H back into the last."""
    settings = dict(channels=(4,), num_res_blocks=1, attention_levels=False, num_head_channels=4, norm_num_groups=2)
    wavelets, pixels = (
        UNet(UNetConfig(**settings, context_dim=None, patch_size=2, patches=form)) for form in ("haar", "pixels")
    )
    x, t = jnp.asarray(RNG.normal(size=(2, 7, 5, 1)), jnp.float32), jnp.asarray([3.0, 700.0])
    params = randomised(wavelets, x, t)["params"]
    mix = np.kron(haar_matrix(2), haar_matrix(2))
    first, last = params["conv_in"], params["conv_out"]
    turned = {
        **params,
        "conv_in": {**first, "kernel": np.einsum("ab,ijac->ijbc", mix, first["kernel"]).astype(np.float32)},
        "conv_out": {name: (value @ mix).astype(np.float32) for name, value in last.items()},
    }
    found, wanted = (
        cheaply(lambda p, n=network: n.apply({"params": p}, x, t), p)
        for network, p in ((wavelets, params), (pixels, turned))
    )
    assert found.shape == x.shape
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert float(jnp.abs(found).max()) > 0.1


@pytest.mark.parametrize("patch", [1, 3, 6])
def test_sizes_that_are_no_powers_of_two_are_refused(patch):
    with pytest.raises(InputError, match="2, 4, 8"):
        UNetConfig(patches="haar", patch_size=patch)
    with pytest.raises(InputError, match="pixels, haar"):
        UNetConfig(patches="wavelets")
