"""Conditions: learned nulls, the raw token of the reference, and what absent values may not do."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from brain_diffusion_jax.covariates import Categorical, Continuous, Schema
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.models import factory
from brain_diffusion_jax.models.conditioning import CovariateTokens
from brain_diffusion_jax.models.conditioning_config import ConditioningConfig
from brain_diffusion_jax.models.unet_config import ModelConfig

SCHEMA = Schema(
    (
        Continuous("age", "years", 18, 88),
        Categorical("sex", ("M", "F")),
        Continuous("slice", "index", 0, 90),
    )
)
MODEL = dict(
    channels=(4,),
    num_res_blocks=(1,),
    attention_levels=(True,),
    num_head_channels=(4,),
    norm_num_groups=2,
    context_dim=3,
)


def test_absent_values_are_the_learned_null_whatever_they_say() -> None:
    module = CovariateTokens(SCHEMA.cardinalities, 8)
    values = jnp.array([[0.3, 1.0, 0.5], [0.3, 1.0, 0.5]])
    params = jax.jit(module.init)(jax.random.key(0), values, jnp.ones((2, 3), bool))
    apply = jax.jit(module.apply)
    present = jnp.array([[True, True, True], [False, True, False]])
    tokens = apply(params, values, present)
    assert tokens.shape == (2, 3, 8)
    np.testing.assert_array_equal(tokens[1, 0], params["params"]["nulls"][0])
    np.testing.assert_array_equal(tokens[1, 1], tokens[0, 1])
    noise = jnp.where(present, values, jnp.nan)
    np.testing.assert_array_equal(apply(params, noise, present), tokens)
    # Nothing leaks back through NaN either, and every null learns.
    gradient = jax.jit(jax.grad(lambda p: module.apply(p, noise, present & False).sum()))(params)
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    assert (gradient["params"]["nulls"] != 0).all()


def test_tokens_follow_the_value() -> None:
    module = CovariateTokens(SCHEMA.cardinalities, 8)
    values = jnp.array([[0.0, 0.0, 0.0], [0.0, 1.0, 0.01], [1.3, 1.0, -0.1]])
    tokens = jax.jit(module.init_with_output)(jax.random.key(0), values, jnp.ones((3, 3), bool))[0]
    assert jnp.isfinite(tokens).all()  # beyond the domain too
    assert all(jnp.abs(tokens[0, i] - tokens[1, i]).max() > 1e-3 for i in (1, 2))
    np.testing.assert_array_equal(tokens[0, 0], tokens[1, 0])


def test_raw_token_is_the_references() -> None:
    network = factory.diffusion_network(ModelConfig(**MODEL), ConditioningConfig("raw"), SCHEMA)
    given = [{"age": 63.0, "sex": "F", "slice": 44}, {"age": 20, "sex": "M"}, {}]
    tokens = network.conditioner(*SCHEMA.encode(given))
    np.testing.assert_allclose(tokens[:, 0], [[63, 2, 44], [20, 1, -1], [-1, -1, -1]], rtol=1e-6)
    assert tokens.shape == (3, 1, 3)


@pytest.mark.parametrize("mode", ["tokens", "raw"])
def test_condition_reaches_the_picture(mode: str) -> None:
    conditioning = ConditioningConfig(mode, time_embedding=mode == "tokens")
    network = factory.diffusion_network(ModelConfig(**MODEL), conditioning, SCHEMA)
    values, present = SCHEMA.encode([{"age": 20, "sex": "M", "slice": 40}, {"age": 80, "sex": "M", "slice": 40}, {}])
    x, t = jnp.zeros((3, 5, 4, 1)), jnp.full(3, 500.0)
    shapes = jax.eval_shape(network.init, jax.random.key(0), x, t, values, present)["params"]
    assert set(shapes) == ({"unet", "conditioner", "summary"} if mode == "tokens" else {"unet"})
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda s: jnp.asarray(0.3 * rng.standard_normal(s.shape), jnp.float32), shapes)
    y = jax.jit(network.apply)({"params": params}, x, t, values, present)
    assert y.shape == x.shape
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert jnp.abs(y[a] - y[b]).max() > 1e-4
    # The raw network is the same one: its parameters, its output for the same tokens.
    if mode == "raw":
        context = network.conditioner(values, present)
        direct = jax.jit(network.unet.clone(parent=None).apply)({"params": params["unet"]}, x, t, context)
        np.testing.assert_allclose(direct, y, rtol=1e-5, atol=1e-5)


def test_channels_that_do_not_count_the_planes_are_refused() -> None:
    network = factory.diffusion_network(ModelConfig(**MODEL), ConditioningConfig("scaled", planes=True), SCHEMA)
    x, count = np.zeros((1, 4, 4, 1), np.float32), len(SCHEMA.names)
    told = np.zeros((1, count), np.float32), np.ones((1, count), bool)
    with pytest.raises(InputError, match=rf"model.in_channels: found 1; expected {1 + count}: 1 .* and {count} planes"):
        jax.eval_shape(network.init, jax.random.key(0), x, np.zeros(1), *told)


def test_planes_and_no_condition() -> None:
    model = ModelConfig(**MODEL, in_channels=4)
    network = factory.diffusion_network(model, ConditioningConfig("scaled", planes=True), SCHEMA)
    values, present = SCHEMA.encode([{"age": 53, "sex": "F", "slice": 45}])
    x, t = jnp.zeros((1, 4, 4, 1)), jnp.zeros(1)
    assert jax.eval_shape(network.init_with_output, jax.random.key(0), x, t, values, present)[0].shape == x.shape
    np.testing.assert_allclose(network.conditioner(values, present)[0, 0], [0.5, 1.0, 0.5])

    # Beside learned tokens the planes are the same numbers, with raw_null where one is absent, and no parameter.
    both = factory.diffusion_network(model, ConditioningConfig("tokens", planes=True), SCHEMA)
    np.testing.assert_allclose(both.numbers(values, present & [True, False, True])[0, 0], [0.5, -1.0, 0.5])
    shapes = jax.eval_shape(both.init, jax.random.key(0), x, t, values, present)["params"]
    assert shapes["unet"]["conv_in"]["kernel"].shape[-2] == 4
    assert set(shapes) == {"unet", "conditioner", "summary"}

    plain = factory.diffusion_network(ModelConfig(**{**MODEL, "context_dim": None}), ConditioningConfig("none"), SCHEMA)
    shapes = jax.eval_shape(plain.init, jax.random.key(0), x, t, values, present)
    assert set(shapes["params"]) == {"unet"}
