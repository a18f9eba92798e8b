"""The WGAN-GP task (Gulrajani et al. 2017) in the shape of every other task: one loss, one optimizer.

loss = critic loss, in which the generator is held still, and every `critic_steps`-th step also
generator loss, in which the critic is held still. The optimizer moves the generator on those steps only,
so the same loop, checkpoints, averages and layouts serve it. A step is one critic update.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from brain_diffusion_jax.array_types import Key, Params
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.models.gan import Gan
from brain_diffusion_jax.pixels import to_unit
from brain_diffusion_jax.training.step import Batch, LossFn, Metrics, sample_keys


@dataclass(frozen=True)
class GanSettings:
    """penalty: weight of the gradient penalty; critic_steps: critic updates for one of the generator."""

    penalty: float = 10.0
    critic_steps: int = 5
    learning_rate: float = 2e-4
    betas: tuple[float, float] = (0.5, 0.999)

    def __post_init__(self) -> None:
        if self.critic_steps < 1:
            raise InputError("config", "gan.critic_steps", self.critic_steps, "1 or more")
        if self.penalty < 0:
            raise InputError("config", "gan.penalty", self.penalty, "0 or more")


def generator_due(update: Array, critic_steps: int) -> Array:
    """Whether the generator moves in the update that follows `update` earlier ones; for loss and optimizer alike."""
    return update % critic_steps == critic_steps - 1


def make_optimizer(settings: GanSettings) -> optax.GradientTransformation:
    """Adam for both networks; the generator's moves (and moments) wait for every critic_steps-th step."""

    def due(update: Array) -> Array:
        return generator_due(update, settings.critic_steps)

    adam = optax.adam(settings.learning_rate, *settings.betas)
    return optax.multi_transform(
        {"critic": adam, "generator": optax.conditionally_mask(adam, due)},
        lambda params: {name: name for name in params},
    )


def draw_latents(key: Key, index: Array, latent: int) -> Array:
    """z [b, latent]; each depends on the key and its place in the global batch alone."""
    return jax.vmap(lambda k: jax.random.normal(k, (latent,)))(sample_keys(key, index))


def make_init(gan: Gan, covariates: int) -> Callable[[Key], dict[str, Any]]:
    """init(key) -> variables."""

    def init(key: Key) -> dict[str, Any]:
        null = jnp.zeros((1, covariates), jnp.float32), jnp.zeros((1, covariates), bool)
        return dict(gan.init(key, jnp.zeros((1, gan.generator.latent), jnp.float32), *null))

    return init


def make_loss(gan: Gan, settings: GanSettings) -> LossFn:
    """loss(params, model_state, batch, key, update) for `step.build_step`.

    batch: image uint8|float32 [b, rows, cols, 1], values, present, index. Metrics: "wasserstein", the
    critic's estimate of the distance; "penalty"; "generator" (0 on steps that leave it alone).
    """

    def critic_loss(params: Params, real: Array, batch: Batch, key: Key) -> tuple[Array, Metrics]:
        still = jax.lax.stop_gradient
        z_key, mix_key = jax.random.split(key)
        condition = batch["values"], batch["present"]
        z = draw_latents(z_key, batch["index"], gan.generator.latent)
        fake: Any = still(gan.apply({"params": params}, z, *condition, method="generate"))

        def score(x: Array, values: Array, present: Array) -> Array:
            found: Any = gan.apply({"params": params}, x, values, present, method="criticise")
            return found

        share = jax.vmap(lambda k: jax.random.uniform(k, (1, 1, 1)))(sample_keys(mix_key, batch["index"]))
        between = share * real + (1 - share) * fake
        slope = jax.grad(lambda x: jnp.sum(score(x, *condition)))(between)  # no score depends on another picture
        length = jnp.sqrt(jnp.sum(slope**2, axis=(1, 2, 3)) + 1e-12)
        penalty = jnp.mean((length - 1.0) ** 2)
        distance = jnp.mean(score(real, *condition)) - jnp.mean(score(fake, *condition))
        return settings.penalty * penalty - distance, {"wasserstein": distance, "penalty": penalty}

    def generator_loss(params: Params, batch: Batch, key: Key) -> Array:
        held = {**params, "critic": jax.lax.stop_gradient(params["critic"])}
        condition = batch["values"], batch["present"]
        z = draw_latents(key, batch["index"], gan.generator.latent)
        fake = gan.apply({"params": held}, z, *condition, method="generate")
        scores: Any = gan.apply({"params": held}, fake, *condition, method="criticise")
        return -jnp.mean(scores)

    def loss(
        params: Params, model_state: Any, batch: Batch, key: Key, update: Array
    ) -> tuple[Array, tuple[Metrics, Any]]:
        critic_key, generator_key = jax.random.split(key)
        real = 2.0 * to_unit(batch["image"]) - 1.0
        value, metrics = critic_loss(params, real, batch, critic_key)
        moved = jax.lax.cond(
            generator_due(update, settings.critic_steps),
            lambda p: generator_loss(p, batch, generator_key),
            lambda p: jnp.zeros((), jnp.float32),
            params,
        )
        return value + moved, ({**metrics, "generator": moved}, model_state)

    return loss


def make_measure(gan: Gan) -> Callable[..., Metrics]:
    """measure(params, model_state, batch, key) -> {"validation_loss": [b]}: critic's score of generated pictures
    minus that of real ones it never saw, for fixed z; far below 0 tells an overfitted critic. No distance
    to compare between runs.
    """

    def measure(params: Params, model_state: Any, batch: Batch, key: Key) -> Metrics:
        condition = batch["values"], batch["present"]
        variables = {"params": params}
        z = draw_latents(key, batch["index"], gan.generator.latent)
        fake = gan.apply(variables, z, *condition, method="generate")
        real = 2.0 * to_unit(batch["image"]) - 1.0
        scores: list[Any] = [gan.apply(variables, x, *condition, method="criticise") for x in (fake, real)]
        return {"validation_loss": scores[0] - scores[1]}

    return measure
