"""A loss that changes at given updates: the right one counts, with its own gradient, and only it is kept."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest

from brain_diffusion_jax.losses.stages import staged


def first(params, state, batch, key, update):
    return jnp.sum(params["w"] ** 2) * batch, ({"first": params["w"][0]}, state)


def second(params, state, batch, key, update):
    return jnp.sum(jnp.sin(params["w"])) * batch, ({"second": params["w"][1]}, {"seen": state["seen"] + 1})


def third(params, state, batch, key, update):
    return jnp.sum(params["w"]) * 0.0, ({}, state)


PARAMS, STATE = {"w": jnp.asarray([0.5, 2.0])}, {"seen": jnp.int32(4)}


@pytest.mark.parametrize(("update", "expected"), [(0, first), (2, first), (3, second), (6, second), (7, third)])
def test_value_gradient_metrics_and_state_are_those_of_the_stage(update, expected):
    loss = jax.jit(jax.value_and_grad(staged([(0, first), (3, second), (7, third)]), has_aux=True))
    arguments = STATE, jnp.float32(3.0), jax.random.key(0), jnp.int32(update)
    (value, (metrics, state)), gradient = loss(PARAMS, *arguments)
    (wanted, (own, after)), slope = jax.value_and_grad(expected, has_aux=True)(PARAMS, *arguments)
    assert float(value) == pytest.approx(float(wanted))
    assert gradient["w"] == pytest.approx(slope["w"])
    assert {k: float(v) for k, v in metrics.items()} == pytest.approx(
        {"first": 0.0, "second": 0.0} | {k: float(v) for k, v in own.items()}
    )
    assert int(state["seen"]) == int(after["seen"])


def test_the_backward_pass_of_a_small_stage_keeps_nothing_of_a_large_one():
    def large(params, state, batch, key, update):
        return jnp.sum(jnp.sin(jnp.sin(params["w"][0] * jnp.ones(2**20)))), ({}, state)

    def small(params, state, batch, key, update):
        return jnp.sum(params["w"] ** 2), ({}, state)

    loss = staged([(0, small), (5, large)])
    arguments = STATE, jnp.float32(1.0), jax.random.key(0)
    _, backward = jax.vjp(lambda p: loss(p, *arguments, jnp.int32(0))[0], PARAMS)
    assert max(leaf.size for leaf in jax.tree.leaves(backward)) < 100
