"""What an LSGAN (Mao et al. 2017) and a VAE-GAN (Larsen et al. 2016) learn from, on images in [0, 1]."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from brain_diffusion_jax.array_types import Params
from brain_diffusion_jax.losses import adversarial
from brain_diffusion_jax.losses.least_squares_gan import (
    Networks,
    VaeGanWeights,
    least_squares_players,
    vae_gan_players,
)
from brain_diffusion_jax.models.volume_gan import Judgement, VolumeGan
from brain_diffusion_jax.pixels import to_unit
from brain_diffusion_jax.tasks.gan import loss
from brain_diffusion_jax.training.step import Batch, LossFn
from brain_diffusion_jax.training.task import MeasureFn


def _real(batch: Batch) -> Array:
    """Images in the range of the generator, 0 to 1."""
    return jnp.asarray(to_unit(batch["image"]))


def _networks(gan: VolumeGan) -> Networks:
    """The methods of `gan` as functions of parameters and batch."""

    def call(method: str, params: Params, x: Array, batch: Batch) -> Any:
        return gan.apply({"params": params}, x, batch["values"], batch["present"], method=method)

    return Networks(
        draw=lambda batch, key: loss.draw_latents(key, batch["index"], gan.generator.latent),
        generate=lambda params, z, batch: call("generate", params, z, batch),
        critic=lambda params, images, batch: call("criticise", params, images, batch),
        encode=lambda params, images, batch: call("encode", params, images, batch),
    )


def make_loss(gan: VolumeGan, critic_steps: int, weights: VaeGanWeights | None = None) -> LossFn:
    """loss(params, model_state, batch, key, update) for `step.build_step`.

    weights: of a VAE-GAN; None: an LSGAN. batch: image uint8|float32 [b, *spatial, c], values, present, index. Metrics:
    "critic" and "generator", their losses; of a VAE-GAN also "kl" and "features". Where both move in every update they
    see the same generated images, which are then made once.
    """
    networks = _networks(gan)
    if weights is None:
        critic, generator = least_squares_players(networks, _real)
    else:
        critic, generator = vae_gan_players(networks, _real, weights)
    return adversarial.two_players(critic, generator, critic_steps, same_draws=critic_steps == 1)


def make_measure(gan: VolumeGan) -> MeasureFn:
    """As `loss.make_measure`."""

    def scores_of(judged: Judgement) -> Array:
        return judged.scores

    return loss.make_measure(gan, _real, scores_of)
