"""The GAN's networks for images and volumes of any size: shapes, range, condition and gradients."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.models.gan import GanNetworks, make_gan

SHAPES = {"image": ((7, 10), 1), "colour": ((5, 6), 3), "volume": ((5, 6, 3), 1)}


@pytest.fixture(scope="module", params=SHAPES, ids=str)
def made(request):
    size, channels = SHAPES[request.param]
    gan = make_gan(size, (3, 0), GanNetworks(channels=(8,), latent=4), channels)
    rng = np.random.default_rng(0)
    z = jnp.asarray(rng.standard_normal((2, 4)), jnp.float32)
    condition = jnp.asarray([[0.0, 0.2], [2.0, 0.9]]), jnp.asarray([[True, True], [True, False]])
    variables = jax.jit(gan.init)(jax.random.key(0), z, *condition)
    return gan, variables, z, condition, (*size, channels)


def test_images_have_the_wanted_shape_and_range(made):
    gan, variables, z, condition, shape = made
    images = np.asarray(gan.apply(variables, z, *condition, method="generate"))
    assert images.shape == (2, *shape)
    assert np.abs(images).max() < 1
    assert np.abs(images[0] - images[1]).max() > 1e-3


def test_both_networks_see_the_condition(made):
    gan, variables, z, (values, present), shape = made
    other = values.at[0, 0].set(1.0)
    for method, x in (("generate", z), ("criticise", jnp.ones((2, *shape)))):
        first = gan.apply(variables, x, values, present, method=method)
        changed = gan.apply(variables, x, other, present, method=method)
        assert np.abs(first[0] - changed[0]).max() > 1e-6
        np.testing.assert_allclose(first[1], changed[1], atol=1e-6)
        # What is absent has no influence.
        absent = gan.apply(variables, x, values.at[1, 1].set(0.1), present, method=method)
        np.testing.assert_array_equal(first, absent)


def test_the_critic_has_gradients_everywhere_and_second_ones(made):
    """The gradient penalty differentiates the gradient by the image once more, by the parameters."""
    gan, variables, _, condition, shape = made
    x = jnp.asarray(np.random.default_rng(1).standard_normal((2, *shape)), jnp.float32)

    def slope(params, x):
        return jax.grad(lambda x: gan.apply({"params": params}, x, *condition, method="criticise").sum())(x)

    assert np.all(np.asarray(jax.jit(slope)(variables["params"], x)) != 0)
    penalty = jax.jit(jax.grad(lambda params: jnp.sum(slope(params, x) ** 2)))(variables["params"])
    kernels = [leaf for path, leaf in jax.tree_util.tree_leaves_with_path(penalty["critic"]) if "conv" in str(path)]
    assert all(np.isfinite(leaf).all() for leaf in kernels)
    assert any(np.abs(leaf).max() > 0 for leaf in kernels)


def test_the_generator_is_moved_by_the_score(made):
    gan, variables, z, condition, _ = made
    score = jax.jit(jax.grad(lambda params: gan.apply({"params": params}, z, *condition).sum()))
    gradient = score(variables["params"])
    moved = jax.tree.leaves(jax.tree.map(lambda g: float(np.abs(g).max()), gradient["generator"]))
    assert np.isfinite(moved).all()
    assert np.mean(np.asarray(moved) > 0) > 0.8


def test_unconditional_networks_and_sizes_that_cannot_be():
    gan = make_gan((4, 4), (3,), GanNetworks(channels=(8,), latent=2, conditional=False))
    null = jnp.zeros((1, 1)), jnp.zeros((1, 1), bool)
    variables = gan.init(jax.random.key(0), jnp.ones((1, 2)), *null)
    assert "condition" not in variables["params"]["generator"]
    with pytest.raises(InputError, match=r"gan: image_size: .*two or three"):
        make_gan((4,), ())
