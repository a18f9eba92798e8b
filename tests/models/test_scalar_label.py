"""The label as a number reaches the output; sizes and nulls."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from brain_diffusion_jax.covariates import Schema
from brain_diffusion_jax.models import factory
from brain_diffusion_jax.models.conditioning_config import ConditioningConfig
from brain_diffusion_jax.models.scalar_label import ScalarLabelUNet
from brain_diffusion_jax.models.unet_config import ModelConfig

SCHEMA = Schema.from_json([{"name": "class", "values": ("a", "b", "c")}])


@pytest.fixture(scope="module")
def network():
    made = factory.diffusion_network(ModelConfig(channels=(8, 16, 16)), ConditioningConfig("scalar"), SCHEMA)
    assert isinstance(made, ScalarLabelUNet)
    null = jnp.zeros((1, 1)), jnp.zeros((1, 1), bool)
    params = made.init(jax.random.key(0), jnp.zeros((1, 10, 13, 1)), jnp.zeros(1), *null)["params"]
    return jax.jit(lambda *a: made.apply({"params": params}, *a)), params


def test_label_time_and_null_all_matter_and_size_is_kept(network):
    apply, _ = network
    x = jnp.broadcast_to(jax.random.normal(jax.random.key(1), (1, 10, 13, 1)), (4, 10, 13, 1))
    values = jnp.array([[0.0], [1.0], [1.0], [1.0]])
    present = jnp.array([[True], [True], [False], [True]])
    out = np.asarray(apply(x, jnp.array([5.0, 5.0, 5.0, 400.0]), values, present))
    assert out.shape == (4, 10, 13, 1)
    for other in (0, 2, 3):
        assert np.abs(out[1] - out[other]).max() > 1e-4


def test_every_block_has_a_linear_of_its_own_for_the_label(network):
    _, params = network
    blocks = [name for name in params if name.startswith(("down", "up"))]
    assert len(blocks) == 4
    assert all(params[name]["label"]["kernel"].shape[0] == 1 for name in blocks)
