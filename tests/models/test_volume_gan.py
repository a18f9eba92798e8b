"""Shapes, ranges and spectral norms of the volume GAN's networks."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.models.volume_gan import VolumeGanConfig, make_volume_gan, spectral_norm

TINY = {"channels": (16, 8, 8), "critic_channels": (4, 8), "latent": 6, "width": 5}


class Jitted:
    """`apply` of a module as one program a method: layer by layer the compiler takes minutes."""

    def __init__(self, gan):
        self.apply = jax.jit(gan.apply, static_argnames="method")


def networks(size, channels=1, cardinalities=(0, 2), **more):
    gan = make_volume_gan(size, channels, cardinalities, VolumeGanConfig(**{**TINY, **more}))
    condition = jnp.array([[0.2, 1.0], [0.9, 0.0]])[:, : len(cardinalities)], jnp.ones((2, len(cardinalities)), bool)
    z = jax.random.normal(jax.random.key(1), (2, 6))
    return Jitted(gan), jax.jit(gan.init)(jax.random.key(0), z, *condition), z, condition


@pytest.mark.parametrize(("size", "channels"), [((8, 12, 8), 1), ((7, 10, 9), 1), ((9, 14), 3)])
def test_images_of_any_size_are_made_encoded_and_judged(size, channels):
    gan, variables, z, condition = networks(size, channels, variational=True)
    assert set(variables["params"]) == {"generator", "critic"}
    assert set(variables["params"]["generator"]) == {"decoder", "encoder"}
    images = gan.apply(variables, z, *condition, method="generate")
    assert images.shape == (2, *size, channels)
    assert 0 < float(images.min()) < float(images.max()) < 1
    mean, log_variance = gan.apply(variables, images, *condition, method="encode")
    assert mean.shape == log_variance.shape == (2, 6)
    scores, features = gan.apply(variables, images, *condition, method="criticise")
    assert scores.shape == (2,)
    assert features.shape == (2, *(-(-n // 4) for n in size), 8)


def test_conditions_reach_both_players_and_absent_values_do_not():
    gan, variables, z, (values, present) = networks((8, 8, 8))
    images = gan.apply(variables, z, values, present, method="generate")
    assert np.abs(images - gan.apply(variables, z, values.at[:, 0].add(0.5), present, method="generate")).max() > 1e-5
    absent = present.at[:, 0].set(False)
    made = [gan.apply(variables, z, v, absent, method="generate") for v in (values, values.at[:, 0].set(jnp.nan))]
    np.testing.assert_array_equal(*made)
    scores = [
        gan.apply(variables, images, v, present, method="criticise").scores for v in (values, values.at[:, 1].set(0))
    ]
    assert scores[0][0] != scores[1][0]
    assert scores[0][1] == scores[1][1]
    plain, plain_variables, _, _ = networks((8, 8, 8), conditional=False)
    others = [plain.apply(plain_variables, z, v, present, method="generate") for v in (values, 1 - values)]
    np.testing.assert_array_equal(*others)


@pytest.mark.parametrize("shape", [(4, 4, 4, 3, 8), (4, 4, 1, 16), (5, 1), (2, 7)])
def test_spectral_norm_is_the_largest_singular_value_with_its_gradient(shape):
    kernel = jax.random.normal(jax.random.key(0), shape)
    u, sizes, v = np.linalg.svd(np.asarray(kernel).reshape(-1, shape[-1]), full_matrices=False)
    value, slope = jax.value_and_grad(spectral_norm)(kernel)
    assert float(value) == pytest.approx(sizes[0], rel=1e-5)
    np.testing.assert_allclose(slope.reshape(-1, shape[-1]), np.outer(u[:, 0], v[0]), atol=1e-4)


def test_the_critic_does_not_change_with_the_size_of_its_kernels():
    gan, variables, z, condition = networks((8, 8, 8))
    images = gan.apply(variables, z, *condition, method="generate")
    scaled = jax.tree_util.tree_map_with_path(
        lambda path, leaf: 7.0 * leaf if any("conv" in str(k) for k in path) and "kernel" in str(path[-1]) else leaf,
        variables["params"]["critic"],
    )
    other = {"params": {**variables["params"], "critic": scaled}}
    before, after = (gan.apply(v, images, *condition, method="criticise").scores for v in (variables, other))
    np.testing.assert_allclose(before, after, rtol=1e-4)


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
