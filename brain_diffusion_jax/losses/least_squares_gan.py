"""The players of a least-squares GAN (Mao et al. 2017) and of a VAE-GAN (Larsen et al. 2016), for `two_players`.

Networks come as functions of (parameters of both players, ..., batch), so that nothing here knows them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from brain_diffusion_jax.array_types import Image, Key, Params
from brain_diffusion_jax.losses.adversarial import (
    CriticFn,
    GeneratorFn,
    Metrics,
    least_squares_critic,
    least_squares_generator,
)
from brain_diffusion_jax.losses.kl import kl
from brain_diffusion_jax.losses.reconstruction import mse

Latent = Float[Array, "b latent"]


@dataclass(frozen=True)
class Networks:
    """draw(batch, key) -> z; generate(params, z, batch) -> images; critic(params, images, batch) -> (scores [b],
    features); encode(params, images, batch) -> (mean, log variance) of z, None for a GAN without an encoder.
    """

    draw: Callable[[Any, Key], Latent]
    generate: Callable[[Params, Latent, Any], Image]
    critic: Callable[[Params, Image, Any], tuple[Float[Array, " b"], Array]]
    encode: Callable[[Params, Image, Any], tuple[Latent, Latent]] | None = None


def least_squares_players(networks: Networks, real: Callable[[Any], Image]) -> tuple[CriticFn, GeneratorFn]:
    """(critic, generator). real: batch -> its images in the range of the generator. Metric "critic", its loss."""

    def critic(params: Params, batch: Any, key: Key, update: Array) -> tuple[Array, Metrics]:
        fake = networks.generate(params, networks.draw(batch, key), batch)
        scores = [networks.critic(params, images, batch)[0] for images in (real(batch), fake)]
        value = least_squares_critic(*scores)
        return value, {"critic": value}

    def generator(params: Params, batch: Any, key: Key, update: Array) -> tuple[Array, Metrics]:
        fake = networks.generate(params, networks.draw(batch, key), batch)
        return least_squares_generator(networks.critic(params, fake, batch)[0]), {}

    return critic, generator


@dataclass(frozen=True)
class VaeGanWeights:
    """Of the generator's terms: kl (a sum over z, per sample), features (mean square, of the critic's), adversarial."""

    kl: float = 1e-3
    features: float = 1.0
    adversarial: float = 0.1


def vae_gan_players(
    networks: Networks, real: Callable[[Any], Image], weights: VaeGanWeights = VaeGanWeights()
) -> tuple[CriticFn, GeneratorFn]:
    """(critic, generator); the generator's parameters hold the encoder too.

    The critic scores real images to 1, rebuilt and drawn ones to 0. The encoder learns from KL and reconstruction only:
    the adversarial gradient stops at z (Larsen et al., algorithm 1). Metrics: "critic", "kl", "features".
    """
    encode = networks.encode
    if encode is None:
        raise ValueError("a VAE-GAN needs an encoder; networks.encode is None")

    def posterior(params: Params, batch: Any, key: Key) -> tuple[Latent, Latent, Latent]:
        mean, log_variance = encode(params, real(batch), batch)
        return mean + jnp.exp(0.5 * log_variance) * networks.draw(batch, key), mean, log_variance

    def scores_of_fakes(params: Params, z: Latent, batch: Any, key: Key) -> Float[Array, " twice"]:
        sides = [networks.generate(params, x, batch) for x in (jax.lax.stop_gradient(z), networks.draw(batch, key))]
        return jnp.concatenate([networks.critic(params, images, batch)[0] for images in sides])

    def critic(params: Params, batch: Any, key: Key, update: Array) -> tuple[Array, Metrics]:
        noise, prior = jax.random.split(key)
        fakes = scores_of_fakes(params, posterior(params, batch, noise)[0], batch, prior)
        value = least_squares_critic(networks.critic(params, real(batch), batch)[0], fakes)
        return value, {"critic": value}

    def generator(params: Params, batch: Any, key: Key, update: Array) -> tuple[Array, Metrics]:
        noise, prior = jax.random.split(key)
        z, mean, log_variance = posterior(params, batch, noise)
        rebuilt = networks.generate(params, z, batch)
        wanted = jax.lax.stop_gradient(networks.critic(params, real(batch), batch)[1])
        terms = {
            "kl": kl(mean, log_variance).mean(),
            "features": mse(networks.critic(params, rebuilt, batch)[1], wanted).mean(),
        }
        fooled = least_squares_generator(scores_of_fakes(params, z, batch, prior))
        total = weights.kl * terms["kl"] + weights.features * terms["features"] + weights.adversarial * fooled
        return total, terms

    return critic, generator
