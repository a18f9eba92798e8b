"""What an autoencoder learns from: crops or whole images, changed at random, and how far their reconstruction is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from brain_diffusion_jax.array_types import Image, Key, Params
from brain_diffusion_jax.diffusion.codec import draw_posterior
from brain_diffusion_jax.losses import adversarial, kl, perceptual, reconstruction
from brain_diffusion_jax.losses.adversarial import CRITIC, GENERATOR
from brain_diffusion_jax.losses.stages import staged
from brain_diffusion_jax.losses.weighted import Weighted, combine
from brain_diffusion_jax.models.autoencoder import Autoencoder
from brain_diffusion_jax.models.patch_discriminator import PatchDiscriminator
from brain_diffusion_jax.pixels import to_unit
from brain_diffusion_jax.tasks.autoencoder.augmentation import IntensityAndPlace, augment, crop
from brain_diffusion_jax.tasks.autoencoder.config import AutoencoderLoss, Crops, RangedAutoencoder
from brain_diffusion_jax.tasks.autoencoder.perceptual_network import PerceptualNetwork
from brain_diffusion_jax.training import optimizer
from brain_diffusion_jax.training.step import Batch, LossFn, Metrics, sample_keys

LATENT = "latent"  # the names of what validation says of each channel begin with it


@dataclass(frozen=True)
class Learning:
    """How an autoencoder learns. mirror_axis: from left to right, None: no flips; num_steps: of the whole run.

    compared: the network of the perceptual term, None: it is off.
    """

    loss: AutoencoderLoss
    crops: Crops
    augmentation: IntensityAndPlace
    num_steps: int
    mirror_axis: int | None = None
    compared: PerceptualNetwork | None = None


def to_network(unit: Image, config: RangedAutoencoder) -> Image:
    """Images in [0, 1] in the range that the network sees."""
    low, high = config.data_range
    return unit * (high - low) + low


def from_network(x: Image, config: RangedAutoencoder) -> Image:
    """The inverse of `to_network`; not clipped."""
    low, high = config.data_range
    return (x - low) / (high - low)


def make_init(module: Autoencoder, critic: PatchDiscriminator | None, shape: tuple[int, ...]) -> Callable[[Key], Any]:
    """init(key) -> variables of images [*spatial, c]: parameters {"generator": the autoencoder's, "critic": ...}."""

    def init(key: Key) -> dict[str, Any]:
        x = jnp.zeros((1, *shape), jnp.float32)
        keys = jax.random.split(key)
        params = {GENERATOR: module.init(keys[0], x)["params"]}
        if critic is not None:
            params[CRITIC] = critic.init(keys[1], x)["params"]
        return {"params": params}

    return init


def make_optimizer(settings: optimizer.OptimizerSettings, how: Learning) -> dict[str, Any]:
    """`optimizer.recipe`, with Adam at a constant rate for the discriminator beside it where there is one."""
    found = optimizer.recipe(settings, how.num_steps)
    if not how.loss.adversarial:
        return found
    critic = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(how.loss.critic_learning_rate, 0.5, 0.9))
    return {**found, "optimizer": adversarial.alternating(critic, found["optimizer"], 1)}


def make_loss(module: Autoencoder, critic: PatchDiscriminator | None, how: Learning) -> LossFn:
    """loss(params, model_state, batch, key, update) for `step.build_step`.

    batch: image uint8|float32 [b, *spatial, c], index. Crops come first and whole images last; the discriminator
    joins at its update. Metrics: every term without its weight, and of the discriminator "critic".
    """
    config: RangedAutoencoder = module.config  # type: ignore[assignment]
    weights = how.loss

    def distance(output: Image, target: Image, keys: Key) -> Array:
        assert how.compared is not None
        features = how.compared.features
        if output.ndim == 5 and how.compared.flat:
            found = perceptual.sliced_distance(features, output, target, keys, weights.perceptual_share)
        else:
            found = perceptual.feature_distance(features, output, target)
        return jnp.mean(found)

    def over(term: Callable[[Image, Image], Array]) -> Callable[..., Array]:
        return lambda output, target, mean, log_variance, keys: jnp.mean(term(output, target))

    terms = (
        Weighted("l1", over(reconstruction.l1), weights.l1),
        Weighted("mse", over(reconstruction.mse), weights.mse),
        Weighted("laplacian", over(reconstruction.laplacian_l1), weights.laplacian),
        Weighted(
            "kl", lambda output, target, mean, log_variance, keys: jnp.mean(kl.kl(mean, log_variance)), weights.kl
        ),
        Weighted("perceptual", lambda output, target, *rest: distance(output, target, rest[-1]), weights.perceptual),
    )
    recipe = tuple(term for term in terms if term.weight)

    def images(batch: Batch, key: Key, size: int) -> Image:
        unit = to_unit(batch["image"])
        crop_key, change_key = jax.random.split(key)
        if size:
            unit = jax.vmap(lambda image, k: crop(image, k, size))(unit, sample_keys(crop_key, batch["index"]))
        keys = sample_keys(change_key, batch["index"])
        return jax.vmap(lambda image, k: augment(image, k, how.augmentation, how.mirror_axis))(unit, keys)

    def reconstruct(params: Params, target: Image, keys: Key) -> tuple[Image, Image, Image]:
        """(output in [0, 1] about, mean, log variance) of a draw."""
        variables = {"params": params[GENERATOR]}
        found: Any = module.apply(variables, to_network(target, config), method="encode")
        mean, log_variance = found
        z = draw_posterior(mean, log_variance, keys)
        output: Any = module.apply(variables, z, target.shape[1:-1], method="decode")
        return from_network(output, config), mean, log_variance

    def score(params: Params, x: Image) -> Array:
        assert critic is not None
        found: Any = critic.apply({"params": params[CRITIC]}, to_network(x, config))
        return found[1]  # type: ignore[no-any-return]

    def draws(batch: Batch, key: Key, size: int) -> tuple[Image, Key]:
        image_key, noise_key = jax.random.split(key)
        return images(batch, image_key, size), sample_keys(noise_key, batch["index"])

    def stage(size: int, opposed: bool) -> LossFn:
        def generator(params: Params, batch: Batch, key: Key, update: Array) -> tuple[Array, Metrics]:
            target, keys = draws(batch, key, size)
            output, mean, log_variance = reconstruct(params, target, keys)
            value, metrics = combine(recipe, update, output, target, mean, log_variance, keys)
            if not opposed:
                return value, metrics
            fooled = adversarial.least_squares_generator(score(params, output))
            return value + weights.adversarial * fooled, {**metrics, "adversarial": fooled}

        def critic_loss(params: Params, batch: Batch, key: Key, update: Array) -> tuple[Array, Metrics]:
            target, keys = draws(batch, key, size)
            value = adversarial.least_squares_critic(
                score(params, target), score(params, reconstruct(params, target, keys)[0])
            )
            return value, {"critic": value}

        def alone(
            params: Params, model_state: Any, batch: Batch, key: Key, update: Array
        ) -> tuple[Array, tuple[Metrics, Any]]:
            value, metrics = generator(params, batch, key, update)
            return value, (metrics, model_state)

        return adversarial.two_players(critic_loss, generator, 1, same_draws=True) if opposed else alone

    return staged([(start, stage(*kind)) for start, kind in plan_stages(how)])


def plan_stages(how: Learning) -> Sequence[tuple[int, tuple[int, bool]]]:
    """(first update, (size of crops, 0: whole images; whether the discriminator plays)), in order."""
    whole_from = round(how.crops.share * how.num_steps) if how.crops.size else 0
    opposed_from = round(how.loss.adversarial_from * how.num_steps) if how.loss.adversarial else how.num_steps + 1
    starts = sorted({0, whole_from, *([opposed_from] if opposed_from <= how.num_steps else [])})
    return [(start, (how.crops.size if start < whole_from else 0, start >= opposed_from)) for start in starts]


def channel_numbers(mean: Image, log_variance: Image) -> dict[str, Float[Array, "b c"]]:
    """Of each sample and latent channel: "kl", nats a number; "spread", deviation of the means over the mean sigma."""
    space = tuple(range(1, mean.ndim - 1))
    sigma = jnp.exp(log_variance / 2).mean(space)
    return {"kl": kl.kl_map(mean, log_variance).mean(space), "spread": mean.std(space) / sigma}


def make_measure(module: Autoencoder) -> Callable[..., Metrics]:
    """measure(params, model_state, batch, key) -> numbers [b] of whole images through the posterior mean.

    validation_loss: mean |difference| in [0, 1]; validation_psnr in dB; latent_kl_K and latent_spread_K of channel K.
    """
    config: RangedAutoencoder = module.config  # type: ignore[assignment]

    def measure(params: Params, model_state: Any, batch: Batch, key: Key) -> Metrics:
        variables, unit = {"params": params[GENERATOR]}, to_unit(batch["image"])
        found_moments: Any = module.apply(variables, to_network(unit, config), method="encode")
        mean, log_variance = found_moments
        decoded: Any = module.apply(variables, mean, unit.shape[1:-1], method="decode")
        output = jnp.clip(from_network(decoded, config), 0.0, 1.0)
        error = jnp.maximum(reconstruction.mse(output, unit), 1e-12)
        found = {"validation_loss": reconstruction.l1(output, unit), "validation_psnr": -10 * jnp.log10(error)}
        for name, numbers in channel_numbers(mean, log_variance).items():
            found |= {f"{LATENT}_{name}_{k}": numbers[:, k] for k in range(numbers.shape[1])}
        return found

    return measure
