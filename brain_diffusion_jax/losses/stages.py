"""A loss that changes as the training goes on: other terms, or other sizes of image, from some update on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from brain_diffusion_jax.array_types import Key, Params

Metrics = dict[str, jax.Array]
Loss = Callable[[Params, Any, Any, Key, Array], tuple[Array, tuple[Metrics, Any]]]


def staged(stages: Sequence[tuple[int, Loss]]) -> Loss:
    """One loss as in `training.step` of several: each counts from its update number on, the first from 0 on."""
    return Staged(tuple(stages)) if len(stages) > 1 else stages[0][1]


@dataclass(frozen=True)
class Staged:
    """The loss of the stage that is due; only that stage is computed. stages: (first update, loss), in order.

    It is differentiated inside the branch: differentiating the branch itself would keep what the backward pass of
    every stage needs, whole volumes beside crops. A metric that a stage does not have is 0 while that stage runs.
    """

    stages: tuple[tuple[int, Loss], ...]

    def __call__(
        self, params: Params, model_state: Any, batch: Any, key: Key, update: Array
    ) -> tuple[Array, tuple[Metrics, Any]]:
        losses = [loss for _, loss in self.stages]
        starts = [start for start, _ in self.stages[1:]]
        arguments = model_state, batch, key, update
        names: dict[str, Any] = {}
        for one in losses:
            names |= jax.eval_shape(one, params, *arguments)[1][0]

        def padded(one: Loss) -> Callable[[Params], tuple[Array, tuple[Metrics, Any]]]:
            def call(params: Params) -> tuple[Array, tuple[Metrics, Any]]:
                value, (metrics, state) = one(params, *arguments)
                zeros = {name: jnp.zeros(like.shape, like.dtype) for name, like in names.items()}
                return value, ({**zeros, **metrics}, state)

            return call

        number = jnp.sum(jnp.asarray(update) >= jnp.asarray(starts))
        calls = [padded(one) for one in losses]

        @jax.custom_vjp
        def due(params: Params) -> tuple[Array, tuple[Metrics, Any]]:
            return jax.lax.switch(number, calls, params)  # type: ignore[no-any-return]

        def forward(params: Params) -> tuple[Any, Params]:
            return jax.lax.switch(number, [jax.value_and_grad(call, has_aux=True) for call in calls], params)  # type: ignore[no-any-return]

        def backward(gradient: Params, cotangents: Any) -> tuple[Params]:
            return (jax.tree.map(lambda leaf: leaf * cotangents[0], gradient),)

        due.defvjp(forward, backward)
        return due(params)
