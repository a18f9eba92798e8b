"""The age network: any size, grey or colour, any dtype, small widths, batch statistics."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.models.deep_brain_net import BACKBONES, make_age_network


@pytest.mark.parametrize("backbone", [name for name, trunk in BACKBONES.items() if trunk.spatial_dims == 2])
def test_any_size_grey_or_colour_gives_one_age_a_picture(backbone):
    network = make_age_network(backbone=backbone, width=0.05, dense=(4,))
    variables = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 96, 96, 3)))
    for size in ((109, 91), (75, 128)):
        for channels in (1, 3):
            images = jax.ShapeDtypeStruct((2, *size, channels), jnp.float32)
            ages = jax.eval_shape(network.apply, variables, images)
            assert (ages.shape, ages.dtype) == ((2,), jnp.float32)
    features = jax.eval_shape(lambda v, x: network.apply(v, x, features=True), variables, images)
    assert features.ndim == 2
    half = make_age_network(backbone=backbone, width=0.05, dense=(4,), dtype="bfloat16")
    shapes = jax.eval_shape(half.init, jax.random.key(0), jnp.zeros((1, 96, 96, 3)))
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {jnp.dtype("float32")}


def test_full_width_has_the_published_number_of_weights():
    # Trainable numbers x 3 floats (Adam) + the rest is the size of the published files (see `PUBLISHED`).
    for backbone, published in (
        ("vgg16", 182983888),
        ("resnet50", 308405496),
        ("densenet169", 172515064),
        ("inception_resnet_v2", 672267176),
    ):
        network = make_age_network(backbone=backbone, dense=1024)
        shapes = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 96, 96, 3)))
        count = {k: sum(int(np.prod(x.shape)) for x in jax.tree.leaves(v)) for k, v in shapes.items()}
        size = 12 * count["params"] + 4 * count.get("batch_stats", 0)
        assert abs(size / published - 1) < 0.012, backbone


@pytest.fixture(scope="module")
def small():
    network = make_age_network(width=0.2, dense=(4,), target_mean=50.0, target_scale=20.0, pooling="max")
    return network, network.init(jax.random.key(0), jnp.zeros((1, 40, 36, 1)))


def test_grey_equals_grey_in_three_channels(small):
    network, variables = small
    images = jax.random.uniform(jax.random.key(1), (2, 40, 36, 1))
    np.testing.assert_allclose(
        network.apply(variables, images), network.apply(variables, jnp.repeat(images, 3, -1)), rtol=1e-5
    )
    with pytest.raises(InputError, match="1 or 3"):
        network.apply(variables, jnp.zeros((1, 40, 36, 2)))


def test_ages_are_in_years_and_half_precision_stays_close(small):
    network, variables = small
    images = jax.random.uniform(jax.random.key(1), (4, 40, 36, 1))
    ages = network.apply(variables, images)
    np.testing.assert_allclose(ages, 50 + 20 * network.apply(variables, images, method="raw")[:, 0], rtol=1e-6)
    half = make_age_network(
        width=0.2, dense=(4,), target_mean=50.0, target_scale=20.0, pooling="max", dtype="bfloat16"
    ).apply(variables, images)
    np.testing.assert_allclose(half, ages, atol=1.0)
    assert not np.array_equal(half, ages)


def test_bins_give_the_mean_of_a_distribution(small):
    network = make_age_network(width=0.2, dense=(), bins=9, bin_low=20.0, bin_high=100.0)
    raw = jnp.full((1, 9), -1e3).at[0, 4].set(0.0)
    np.testing.assert_allclose(network.years(raw), [60.0], rtol=1e-5)
    variables = network.init(jax.random.key(0), jnp.zeros((1, 40, 36, 1)))
    assert network.apply(variables, jnp.zeros((2, 40, 36, 1)), method="raw").shape == (2, 9)


def test_training_moves_statistics_but_not_the_frozen_ones():
    images = jax.random.uniform(jax.random.key(1), (4, 40, 36, 1))
    network = make_age_network(width=0.2, dense=(), frozen=("norm0",))
    variables = network.init(jax.random.key(0), images)
    _, changed = network.apply(
        variables, images, train=True, mutable=["batch_stats"], rngs={"dropout": jax.random.key(2)}
    )
    before, after = variables["batch_stats"]["trunk"], changed["batch_stats"]["trunk"]
    assert np.array_equal(before["norm0"]["mean"], after["norm0"]["mean"])
    assert not np.array_equal(before["norm1"]["mean"], after["norm1"]["mean"])


def test_an_unknown_backbone_lists_the_known():
    with pytest.raises(InputError, match="vgg16"):
        make_age_network(backbone="vgg19")
    with pytest.raises(InputError, match="avg or max"):
        make_age_network(pooling="flatten")


def test_volumes_have_a_backbone_and_the_others_refuse_them_by_name():
    network = make_age_network(backbone="sfcn", width=0.05, bins=5)
    x = jax.ShapeDtypeStruct((2, 40, 33, 36, 3), jnp.float32)
    variables = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 32, 32, 32, 1)))
    ages = jax.eval_shape(network.apply, variables, x)
    assert (ages.shape, ages.dtype) == ((2,), jnp.float32)
    with pytest.raises(InputError, match="of 2 axes, for images of 3; expected small_volume_cnn or sfcn"):
        jax.eval_shape(make_age_network(backbone="small_cnn").init, jax.random.key(0), x)
    with pytest.raises(InputError, match="sfcn, a network of 3 axes, for images of 2; expected small_cnn or"):
        jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 64, 64, 1)))
    with pytest.raises(InputError, match="32 voxels or more along each axis"):
        jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 64, 31, 64, 1)))
