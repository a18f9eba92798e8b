"""The fixed network whose features the perceptual term of an autoencoder compares."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from brain_diffusion_jax.array_types import Image
from brain_diffusion_jax.conversion import deepbet as deepbet_weights
from brain_diffusion_jax.conversion import volume_backbones
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.losses.perceptual import FeatureFn
from brain_diffusion_jax.models.backbones import deepbet, medicalnet
from brain_diffusion_jax.tasks.autoencoder.config import DEEPBET, RUN, AutoencoderLoss
from brain_diffusion_jax.tasks.opening import open_run
from brain_diffusion_jax.tasks.predictor import PredictorModel


class PerceptualNetwork(NamedTuple):
    """features; flat: they are of 2D images; version: names the weights, with a hash."""

    features: FeatureFn
    flat: bool
    version: str


def open_network(loss: AutoencoderLoss, spatial_dims: int, channels: int) -> PerceptualNetwork:
    """The network that section `loss` names.

    Its features are the last maps of MedicalNet, three stages of deepbet's encoder, what a regressor has after
    pooling. Raises InputError for a network of volumes where the images have two axes or several channels.
    """
    if loss.perceptual_network == RUN:
        return _of_run(loss.perceptual_run, spatial_dims)
    if spatial_dims != 3 or channels != 1:
        found = f"{loss.perceptual_network}, which reads grey volumes"
        axes = f"images of {spatial_dims} axes and {channels} channels"
        raise InputError("config", "loss.perceptual_network", found, f"{RUN}: these are {axes}")
    if loss.perceptual_network == DEEPBET:
        encoder, variables, version = deepbet_weights.encoder()
        return PerceptualNetwork(of_deepbet(encoder, variables), False, version)
    network, variables, version = volume_backbones.read_medicalnet(loss.perceptual_weights)
    return PerceptualNetwork(of_medicalnet(network, variables), False, version)


def of_deepbet(encoder: deepbet.DeepbetEncoder, variables: Any) -> FeatureFn:
    """Maps of all stages of the encoder."""
    weights = jax.tree.map(jnp.asarray, variables)

    def features(volumes: Image) -> tuple[jax.Array, ...]:
        found: Any = encoder.apply(weights, deepbet.prepare_input(volumes))
        return found  # type: ignore[no-any-return]

    return features


def of_medicalnet(network: medicalnet.MedicalNet, variables: Any) -> FeatureFn:
    """The last maps, as MONAI's perceptual loss has them."""
    weights = jax.tree.map(jnp.asarray, variables)

    def features(volumes: Image) -> tuple[jax.Array]:
        found: Any = network.apply(weights, medicalnet.prepare_input(volumes))
        return (found[-1],)

    return features


def _of_run(run: str, spatial_dims: int) -> PerceptualNetwork:
    model = open_run(run)
    if model.kind != "age" or not isinstance(model, PredictorModel):
        raise InputError("config", "loss.perceptual_run", f"{run}, of kind {model.kind}", "a run of kind age")
    size = 2 if model.contract is None else len(model.contract.image_size)
    if size > spatial_dims:
        raise InputError("config", "loss.perceptual_run", f"{run}, of volumes", "a regressor of 2D images")
    params = jax.tree.map(jnp.asarray, model.params)
    module = model.module
    return PerceptualNetwork(
        lambda images: [module.apply(params, images, features=True)], size == 2, f"age {model.version}"
    )
