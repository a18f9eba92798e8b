"""Two players: who is held still, and when the generator moves."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax
import pytest

from brain_diffusion_jax.losses import adversarial


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
