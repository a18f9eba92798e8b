"""Shapes, ranges and spectral norms of the volume GAN's networks."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.models.volume_gan import SpectralConv, VolumeGanConfig, make_volume_gan, spectral_norm

TINY = {"channels": (16, 8, 8), "critic_channels": (4, 8), "latent": 6, "width": 5}


def networks(size, channels=1, cardinalities=(0, 2), **more):
    return make_volume_gan(size, channels, cardinalities, VolumeGanConfig(**{**TINY, **more}))


VALUES, PRESENT = jnp.array([[0.2, 1.0], [0.9, 0.0]]), jnp.ones((2, 2), bool)
Z = jax.random.normal(jax.random.key(1), (2, 6))


def everything(gan, z, values, present):
    """Parameters, images, what the encoder and the critic say of them: one program."""
    variables = gan.init(jax.random.key(0), z, values, present)
    images = gan.apply(variables, z, values, present, method="generate")
    encoded = gan.apply(variables, images, values, present, method="encode")
    return variables, images, encoded, gan.apply(variables, images, values, present, method="criticise")


@pytest.mark.parametrize(("size", "channels"), [((8, 12, 8), 1), ((7, 10, 9), 1), ((9, 14), 3), ((8, 8), 1)])
def test_images_of_any_size_are_made_encoded_and_judged(size, channels):
    gan = networks(size, channels, variational=True)
    variables, images, encoded, judged = jax.eval_shape(lambda z: everything(gan, z, VALUES, PRESENT), Z)
    assert set(variables["params"]) == {"generator", "critic"}
    assert set(variables["params"]["generator"]) == {"decoder", "encoder"}
    assert images.shape == (2, *size, channels)
    assert [part.shape for part in encoded] == [(2, 6)] * 2
    assert judged.scores.shape == (2,)
    assert judged.features.shape == (2, *(-(-n // 4) for n in size), 8)


def test_values_are_finite_and_images_lie_between_0_and_1():
    gan = networks((6, 9), 3, variational=True)
    _, images, encoded, judged = jax.jit(lambda z: everything(gan, z, VALUES, PRESENT))(Z)
    assert 0 < float(images.min()) < float(images.max()) < 1
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((encoded, judged)))
    assert float(jnp.abs(images[0] - images[1]).max()) > 1e-4


def test_conditions_reach_both_players_and_absent_values_do_not():
    gan = networks((4, 4, 8))

    @jax.jit
    def both(params, images, values, present):
        made = gan.apply(params, Z, values, present, method="generate")
        return made, gan.apply(params, images, values, present, method="criticise").scores

    variables = jax.jit(gan.init)(jax.random.key(0), Z, VALUES, PRESENT)
    images = jax.random.uniform(jax.random.key(2), (2, 4, 4, 8, 1))
    made, scores = both(variables, images, VALUES, PRESENT)
    other, other_scores = both(variables, images, VALUES.at[0].set(jnp.array([0.7, 0.0])), PRESENT)
    assert np.abs(made[0] - other[0]).max() > 1e-5
    assert scores[0] != other_scores[0]
    np.testing.assert_array_equal(made[1], other[1])
    assert scores[1] == other_scores[1]
    absent = PRESENT.at[:, 0].set(False)
    first, second = (both(variables, images, v, absent) for v in (VALUES, VALUES.at[:, 0].set(jnp.nan)))
    jax.tree.map(np.testing.assert_array_equal, first, second)
    plain = jax.eval_shape(networks((4, 4), conditional=False).init, jax.random.key(0), Z, VALUES, PRESENT)
    assert not any("condition" in str(path) for path, _ in jax.tree_util.tree_leaves_with_path(plain))


@pytest.mark.parametrize("shape", [(4, 4, 4, 3, 8), (4, 4, 1, 16), (5, 1), (2, 7)])
def test_spectral_norm_is_the_largest_singular_value_with_its_gradient(shape):
    kernel = jax.random.normal(jax.random.key(0), shape)
    u, sizes, v = np.linalg.svd(np.asarray(kernel).reshape(-1, shape[-1]), full_matrices=False)
    value, slope = jax.value_and_grad(spectral_norm)(kernel)
    assert float(value) == pytest.approx(sizes[0], rel=1e-5)
    np.testing.assert_allclose(slope.reshape(-1, shape[-1]), np.outer(u[:, 0], v[0]), atol=1e-4)


def test_the_critic_does_not_change_with_the_size_of_its_kernels():
    layer = SpectralConv(5)
    x = jax.random.normal(jax.random.key(0), (2, 6, 8, 3))
    params = layer.init(jax.random.key(1), x)["params"]
    found = [layer.apply({"params": {**params, "kernel": scale * params["kernel"]}}, x) for scale in (1.0, 7.0)]
    assert found[0].shape == (2, 3, 4, 5)
    np.testing.assert_allclose(*found, rtol=1e-4, atol=1e-6)


def test_the_default_start_is_that_of_2_mm_heads():
    shapes = jax.eval_shape(
        lambda: make_volume_gan((80, 96, 80), 1, (0, 2), VolumeGanConfig()).init(
            jax.random.key(0), jnp.zeros((1, 512)), jnp.zeros((1, 2)), jnp.zeros((1, 2), bool)
        )
    )
    assert shapes["params"]["generator"]["decoder"]["project"]["kernel"].shape == (512 + 64, 5 * 6 * 5 * 256)


@pytest.mark.parametrize("more", [{"channels": (16,)}, {"channels": (16, 10)}, {"critic_channels": ()}, {"latent": 0}])
def test_bad_sizes_are_refused(more):
    with pytest.raises(InputError, match=f"gan.{next(iter(more))}"):
        VolumeGanConfig(**more)
