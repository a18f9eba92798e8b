"""Recipes of terms, and two players: who is held still, and when the generator moves."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from brain_diffusion_jax.losses import adversarial
from brain_diffusion_jax.losses.weighted import Weighted, combine
from brain_diffusion_jax.training import step


def test_terms_are_weighed_and_begin_when_told():
    recipe = (Weighted("a", lambda x: x), Weighted("b", lambda x: x**2, -2.0, after_step=3))
    for update, expected in ((2, 5.0), (3, 5.0 - 50.0)):
        total, found = combine(recipe, jnp.int32(update), jnp.float32(5.0))
        assert float(total) == expected
        assert {name: float(value) for name, value in found.items()} == {"a": 5.0, "b": 25.0}


def test_each_player_holds_the_other_still():
    """Both losses are the product of the two numbers: one goes up the other's value, nothing else."""
    loss = adversarial.two_players(
        lambda p, batch, key, update: (p["critic"] * p["generator"], {}),
        lambda p, batch, key, update: -p["critic"] * p["generator"],
        critic_steps=2,
    )
    params = {"critic": jnp.float32(3.0), "generator": jnp.float32(7.0)}
    gradient = jax.grad(loss, has_aux=True)
    for update, generator in ((0, 0.0), (1, -3.0), (2, 0.0)):
        found, (metrics, _) = gradient(params, {}, None, jax.random.key(0), jnp.int32(update))
        assert (float(found["critic"]), float(found["generator"])) == (7.0, generator)
        assert float(metrics["generator"]) == (-21.0 if update == 1 else 0.0)


def test_the_generator_is_updated_in_every_second_step():
    sgd = optax.sgd(1.0)
    optimizer = adversarial.alternating(sgd, sgd, 2)
    params = {"critic": jnp.ones(2), "generator": jnp.ones(2)}
    state, moved = optimizer.init(params), []
    for _ in range(4):
        updates, state = optimizer.update(params, state, params)
        moved.append([bool(jnp.any(updates[name] != 0)) for name in ("critic", "generator")])
    assert moved == [[True, False], [True, True]] * 2


def test_a_linear_score_has_the_penalty_of_its_slope():
    x = jnp.zeros((3, 2, 2, 1))
    assert float(adversarial.gradient_penalty(lambda x: 1.5 * x.sum((1, 2, 3)), x)) == pytest.approx(4.0)  # slope 3


def test_known_samples_of_any_parts_weigh_as_those_of_the_whole():
    rng = np.random.default_rng(0)
    values, known = rng.random(8), np.array([1, 0, 0, 1, 1, 1, 0, 1], bool)
    weights = np.asarray(step.known_weights(jnp.asarray(known)))
    parts = [np.mean((values * weights)[i::4]) for i in range(4)]
    assert np.mean(parts) == pytest.approx(values[known].mean())
    assert np.all(np.asarray(step.known_weights(jnp.zeros(4, bool))) == 0)
    np.testing.assert_array_equal(step.known_weights(jnp.ones(4, bool)), 1.0)
