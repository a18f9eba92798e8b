"""The cost of a step before it is run."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny

from brain_diffusion_jax.losses.stages import staged
from brain_diffusion_jax.training import state
from brain_diffusion_jax.training.devices import estimate

KEY = jax.random.key(0)


def test_a_dry_run_knows_the_state_it_would_make():
    task, tx = tiny.diffusion_task(width=64), optax.adam(1e-3)

    def init(key):
        return state.create(task.init(key), tx)

    example = {**next(tiny.Endless(16)), "index": np.arange(16, dtype=np.int32)}
    one = estimate.estimate(init, task.make_loss(None), example, data=1, fsdp=1, accumulation=1)
    real = init(KEY)
    assert one.parameters == state.count_parameters(real.params)
    assert one.state_bytes == state.tree_bytes(real)
    eight = estimate.estimate(init, task.make_loss(None), example, data=1, fsdp=8, accumulation=1)
    assert one.state_bytes / 8 < eight.state_bytes < one.state_bytes / 6
    assert eight.activation_bytes < one.activation_bytes / 6
    assert eight.step_flops == pytest.approx(one.step_flops)
    assert "TFLOP" in str(one)


def test_the_memory_of_stages_is_that_of_the_largest():
    def large(params, model_state, batch, key, update):
        return jnp.sum(jnp.sin(jnp.sin(params["w"][0] * jnp.ones(2**20)))), ({}, model_state)

    def small(params, model_state, batch, key, update):
        return jnp.sum(params["w"] ** 2), ({}, model_state)

    def cost(loss, **more):
        example = {"image": np.zeros((2, 3)), "index": np.zeros(2, np.int32)}
        start = lambda key: state.create({"params": {"w": jnp.zeros(4)}}, optax.sgd(0.1))  # noqa: E731
        return estimate.estimate(start, loss, example, data=1, fsdp=1, accumulation=1, **more)

    whole = cost(large).activation_bytes
    assert whole >= 4 * 2**20
    # A staged loss differentiates itself and so keeps a gradient only: its stages tell what they keep.
    both = staged([(0, small), (5, large)])
    assert cost(both, stages=[small, large]).activation_bytes == whole > 100 * cost(both).activation_bytes
