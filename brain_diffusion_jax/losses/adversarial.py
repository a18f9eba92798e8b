"""Two networks that learn against each other, as one loss and one optimizer (Gulrajani et al. 2017, WGAN-GP).

Parameters are {"critic": ..., "generator": ...}. loss = the critic's, in which the generator is held still, and in
every critic_steps-th update also the generator's, in which the critic is held still. The optimizer moves the
generator in those updates only, so that the loop, checkpoints, averages and layouts of any other task serve it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from brain_diffusion_jax.array_types import Key, Params

Metrics = dict[str, jax.Array]
CriticFn = Callable[[Params, Any, Key, jax.Array], tuple[jax.Array, Metrics]]
GeneratorFn = Callable[[Params, Any, Key, jax.Array], jax.Array]
CRITIC, GENERATOR = "critic", "generator"


def generator_due(update: Array, critic_steps: int) -> Array:
    """Whether the generator moves in the update that follows `update` earlier ones; for loss and optimizer alike."""
    return update % critic_steps == critic_steps - 1


def _holding(params: Params, name: str) -> Params:
    """`params` with no gradient through those of one player."""
    return {**params, name: jax.lax.stop_gradient(params[name])}


def two_players(
    critic: CriticFn, generator: GeneratorFn, critic_steps: int
) -> Callable[[Params, Any, Any, Key, Array], tuple[Array, tuple[Metrics, Any]]]:
    """A loss as in `training.step` of two: critic(params, batch, key, update) -> (value, metrics), generator -> value.

    Metrics: those of the critic, and "generator", its loss (0 in updates that leave it alone).
    """

    def loss(
        params: Params, model_state: Any, batch: Any, key: Key, update: Array
    ) -> tuple[Array, tuple[Metrics, Any]]:
        critic_key, generator_key = jax.random.split(key)
        value, metrics = critic(_holding(params, GENERATOR), batch, critic_key, update)
        moved = jax.lax.cond(
            generator_due(update, critic_steps),
            lambda p: generator(_holding(p, CRITIC), batch, generator_key, update),
            lambda p: jnp.zeros((), jnp.float32),
            params,
        )
        return value + moved, ({**metrics, "generator": moved}, model_state)

    return loss


def alternating(
    critic: optax.GradientTransformation, generator: optax.GradientTransformation, critic_steps: int
) -> optax.GradientTransformation:
    """An optimizer for both; the generator's updates (and moments) wait for every critic_steps-th step."""

    def due(update: Array) -> Array:
        return generator_due(update, critic_steps)

    return optax.multi_transform(
        {CRITIC: critic, GENERATOR: optax.conditionally_mask(generator, due)},
        lambda params: {name: name for name in params},
    )


def gradient_penalty(score: Callable[[Array], Array], between: Array) -> Array:
    """Mean of (|slope of the score| - 1)^2 at points between real and generated images (Gulrajani et al., eq. 3).

    score: images [b, ...] -> [b]; none may depend on another image of the batch.
    """
    slope = jax.grad(lambda x: jnp.sum(score(x)))(between)
    length = jnp.sqrt(jnp.sum(slope**2, axis=tuple(range(1, slope.ndim))) + 1e-12)
    return jnp.mean((length - 1.0) ** 2)


def wasserstein(real: Float[Array, " b"], fake: Float[Array, " b"]) -> Array:
    """The critic's estimate of the distance, from its scores of real and of generated images."""
    return jnp.mean(real) - jnp.mean(fake)
