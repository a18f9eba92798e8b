"""Two networks that learn against each other, as one loss and one optimizer: WGAN-GP, least squares, patches.

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
GeneratorFn = Callable[[Params, Any, Key, jax.Array], tuple[jax.Array, Metrics]]
CRITIC, GENERATOR = "critic", "generator"


def generator_due(update: Array, critic_steps: int) -> Array:
    """Whether the generator moves in the update that follows `update` earlier ones; for loss and optimizer alike."""
    return update % critic_steps == critic_steps - 1


def _holding(params: Params, name: str) -> Params:
    """`params` with no gradient through those of one player."""
    return {**params, name: jax.lax.stop_gradient(params[name])}


def two_players(
    critic: CriticFn, generator: GeneratorFn, critic_steps: int, *, same_draws: bool = False
) -> Callable[[Params, Any, Any, Key, Array], tuple[Array, tuple[Metrics, Any]]]:
    """A loss as in `training.step` of two, each (params, batch, key, update) -> (value, metrics).

    Metrics: those of both, and "generator", its loss; 0 in updates that leave the generator alone. same_draws: both
    get one key, so that what the generator makes for the critic is computed once where it moves in every update.
    """

    def loss(
        params: Params, model_state: Any, batch: Any, key: Key, update: Array
    ) -> tuple[Array, tuple[Metrics, Any]]:
        critic_key, generator_key = (key, key) if same_draws else jax.random.split(key)
        value, metrics = critic(_holding(params, GENERATOR), batch, critic_key, update)

        def move(p: Params) -> tuple[Array, Metrics]:
            return generator(_holding(p, CRITIC), batch, generator_key, update)

        if critic_steps == 1:
            moved, more = move(params)
        else:
            zeros = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), jax.eval_shape(move, params))
            moved, more = jax.lax.cond(generator_due(update, critic_steps), move, lambda p: zeros, params)
        return value + moved, ({**metrics, **more, "generator": moved}, model_state)

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


def least_squares_critic(real: Float[Array, "b *patches 1"], fake: Float[Array, "b *patches 1"]) -> Array:
    """1/2 E[(D(x) - 1)^2] + 1/2 E[D(G)^2] (Mao et al. 2017, eq. 9): real scores to 1, generated ones to 0."""
    return 0.5 * jnp.mean(jnp.square(real - 1.0)) + 0.5 * jnp.mean(jnp.square(fake))


def least_squares_generator(fake: Float[Array, "b *patches 1"]) -> Array:
    """E[(D(G) - 1)^2]: the generator wants its images scored as real ones are."""
    return jnp.mean(jnp.square(fake - 1.0))
