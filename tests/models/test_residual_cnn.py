"""The residual backbone: sizes, and that a block without its branch lets the map pass."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from brain_diffusion_jax.models.residual_cnn import ResidualCnn

IMAGES = jnp.asarray(np.random.default_rng(0).uniform(size=(2, 13, 22, 1)), jnp.float32)


def test_sizes_are_an_eighth_rounded_up():
    network = ResidualCnn(width=0.1)
    maps, _ = network.init_with_output(jax.random.key(0), IMAGES)
    assert maps.shape == (2, 2, 3, 13)
    assert float(maps.min()) >= 0
    assert network.in_channels == 1


def test_a_block_whose_branch_is_zero_lets_the_map_pass():
    deep = ResidualCnn(width=0.1, blocks=2)
    variables = deep.init(jax.random.key(0), IMAGES)
    params = {
        name: jax.tree.map(jnp.zeros_like, leaf) if "_block1_1_conv" in name else leaf
        for name, leaf in variables["params"].items()
    }
    shallow = {name: leaf for name, leaf in params.items() if "_block1_" not in name}
    statistics = {name: leaf for name, leaf in variables["batch_stats"].items() if "_block1_" not in name}
    got = deep.apply({"params": params, "batch_stats": variables["batch_stats"]}, IMAGES)
    want = ResidualCnn(width=0.1).apply({"params": shallow, "batch_stats": statistics}, IMAGES)
    np.testing.assert_allclose(got, want, atol=1e-6)
    whole = deep.apply(variables, IMAGES)
    assert float(jnp.abs(whole - want).max()) > 1e-3


def test_statistics_move_in_training_alone():
    network = ResidualCnn(width=0.1)
    variables = network.init(jax.random.key(0), IMAGES)
    _, still = network.apply(variables, IMAGES, mutable=["batch_stats"])
    jax.tree.map(np.testing.assert_array_equal, still["batch_stats"], variables["batch_stats"])
    _, moved = network.apply(variables, IMAGES, train=True, mutable=["batch_stats"])
    stem = moved["batch_stats"]["stem_norm"]["mean"]
    assert np.abs(np.asarray(stem) - np.asarray(variables["batch_stats"]["stem_norm"]["mean"])).max() > 1e-4
