"""What a WGAN-GP learns from (Gulrajani et al. 2017), and what all GANs share. A step is one update of the critic."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from brain_diffusion_jax.array_types import Key, Params
from brain_diffusion_jax.errors import require
from brain_diffusion_jax.losses import adversarial
from brain_diffusion_jax.losses.weighted import Weighted, combine
from brain_diffusion_jax.models.gan import Gan
from brain_diffusion_jax.models.volume_gan import VolumeGan
from brain_diffusion_jax.pixels import to_unit
from brain_diffusion_jax.training.step import Batch, LossFn, Metrics, sample_keys
from brain_diffusion_jax.training.task import MeasureFn


@dataclass(frozen=True)
class Learning:
    """critic_steps: critic updates for one of the generator; learning_rate and betas: of Adam, for both."""

    critic_steps: int = 5
    learning_rate: float = 2e-4
    betas: tuple[float, float] = (0.5, 0.999)

    def __post_init__(self) -> None:
        require(self.critic_steps >= 1, "gan.critic_steps", self.critic_steps, "1 or more")


@dataclass(frozen=True)
class GanSettings(Learning):
    """penalty: weight of the gradient penalty."""

    penalty: float = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.penalty >= 0, "gan.penalty", self.penalty, "0 or more")


def make_optimizer(settings: Learning) -> optax.GradientTransformation:
    """Adam for both networks; the generator's updates (and moments) wait for every critic_steps-th step."""
    adam = optax.adam(settings.learning_rate, *settings.betas)
    return adversarial.alternating(adam, adam, settings.critic_steps)


def draw_latents(key: Key, index: Array, latent: int) -> Array:
    """z [b, latent]; each depends on the key and its place in the global batch alone."""
    return jax.vmap(lambda k: jax.random.normal(k, (latent,)))(sample_keys(key, index))


def make_init(gan: Gan | VolumeGan, covariates: int) -> Callable[[Key], dict[str, Any]]:
    """init(key) -> variables."""

    def init(key: Key) -> dict[str, Any]:
        null = jnp.zeros((1, covariates), jnp.float32), jnp.zeros((1, covariates), bool)
        return dict(gan.init(key, jnp.zeros((1, gan.generator.latent), jnp.float32), *null))

    return init


def _real(batch: Batch) -> Array:
    """Images in the range of the generator, -1 to 1."""
    return jnp.asarray(2.0 * to_unit(batch["image"]) - 1.0)


def make_loss(gan: Gan, settings: GanSettings) -> LossFn:
    """loss(params, model_state, batch, key, update) for `step.build_step`.

    batch: image uint8|float32 [b, *spatial, c], values, present, index. Metrics: "wasserstein", the
    critic's estimate of the distance; "penalty"; "generator" (0 on steps that leave it alone).
    """

    def generate(params: Params, batch: Batch, key: Key) -> Any:
        z = draw_latents(key, batch["index"], gan.generator.latent)
        return gan.apply({"params": params}, z, batch["values"], batch["present"], method="generate")

    def score(params: Params, x: Array, batch: Batch) -> Any:
        return gan.apply({"params": params}, x, batch["values"], batch["present"], method="criticise")

    def distance(params: Params, real: Array, fake: Array, between: Array, batch: Batch) -> Array:
        return adversarial.wasserstein(score(params, real, batch), score(params, fake, batch))

    def penalty(params: Params, real: Array, fake: Array, between: Array, batch: Batch) -> Array:
        return adversarial.gradient_penalty(lambda x: score(params, x, batch), between)

    recipe = (Weighted("wasserstein", distance, -1.0), Weighted("penalty", penalty, settings.penalty))

    def critic(params: Params, batch: Batch, key: Key, update: Array) -> tuple[Array, Metrics]:
        z_key, mix_key = jax.random.split(key)
        real, fake = _real(batch), generate(params, batch, z_key)
        one = (1,) * (real.ndim - 1)
        fraction = jax.vmap(lambda k: jax.random.uniform(k, one))(sample_keys(mix_key, batch["index"]))
        return combine(recipe, update, params, real, fake, fraction * real + (1 - fraction) * fake, batch)

    def generator(params: Params, batch: Batch, key: Key, update: Array) -> tuple[Array, Metrics]:
        return -jnp.mean(score(params, generate(params, batch, key), batch)), {}

    return adversarial.two_players(critic, generator, settings.critic_steps)


def make_measure(
    gan: Gan | VolumeGan,
    real: Callable[[Batch], Array] = _real,
    scores_of: Callable[[Any], Array] = lambda judged: judged,
) -> MeasureFn:
    """measure(params, model_state, batch, key) -> {"validation_loss": [b]}: critic's score of generated images
    minus that of real ones it never saw, for fixed z; far below 0 tells an overfitted critic. No distance
    to compare between runs.

    real: batch -> its images in the range of the generator. scores_of: what the critic says -> scores [b].
    """

    def measure(params: Params, model_state: Any, batch: Batch, key: Key) -> Metrics:
        condition = batch["values"], batch["present"]
        variables = {"params": params}
        z = draw_latents(key, batch["index"], gan.generator.latent)
        fake = gan.apply(variables, z, *condition, method="generate")
        judged: list[Any] = [gan.apply(variables, x, *condition, method="criticise") for x in (fake, real(batch))]
        return {"validation_loss": scores_of(judged[0]) - scores_of(judged[1])}

    return measure
