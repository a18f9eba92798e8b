"""A step is compiled once, and knows its operations from then on."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from brain_diffusion_jax.training.devices.program import StepProgram, memory_gib


def test_a_step_is_traced_once_and_counts_its_operations() -> None:
    traced = []

    @jax.jit
    def double(x: jax.Array) -> jax.Array:
        traced.append(x.shape)
        return x @ x

    program, x = StepProgram(double), jnp.full((3, 3), 2.0)
    assert program.flops == 0.0
    program.ready(x)
    assert program.flops == 2 * 27
    assert float(program(x)[0, 0]) == float(program(x)[1, 1]) == 12.0
    assert traced == [(3, 3)]


def test_this_process_holds_some_memory() -> None:
    assert 0.01 < memory_gib() < 4096
