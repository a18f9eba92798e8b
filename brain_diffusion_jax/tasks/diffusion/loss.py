"""What a diffusion model learns from: noise a batch, drop conditions, ask the network, weigh the error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from brain_diffusion_jax.array_types import Key, Params
from brain_diffusion_jax.diffusion.codec import Codec, PixelCodec
from brain_diffusion_jax.diffusion.process import Process
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.losses import denoising
from brain_diffusion_jax.pixels import to_unit
from brain_diffusion_jax.training.state import LOSS_PARAMETERS, network_params
from brain_diffusion_jax.training.step import (
    Batch,
    LossFn,
    Metrics,
    dropout_by_sample,
    sample_keys,
)
from brain_diffusion_jax.training.task import MeasureFn

# Multiples of it modulo 1 are evenly spread for any count (Kronecker sequence of the golden ratio).
GOLDEN = 0.6180339887498949
# The setting of loss_weight, and the name of its parameters.
UNCERTAINTY = LOSS_PARAMETERS
_FEATURES = 64
# Of a network's collections beside its parameters: the codec that it works under.
CodecOf = Callable[[Any], Codec]


@dataclass(frozen=True)
class LossSettings:
    """drop_probability: of the whole condition; drop_each: of one covariate, on top. loss: see `losses.denoising`.

    loss_weight: see `losses.denoising`; or "uncertainty", learned (Karras et al. 2024, eq. 21: exp(-u) L + u with u
    linear in Fourier features of log-SNR), which balances the noise levels by itself.
    """

    drop_probability: float = 0.2
    drop_each: float = 0.0
    loss: str = "mse"
    loss_weight: str = "none"

    def __post_init__(self) -> None:
        for name in ("drop_probability", "drop_each"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise InputError("config", f"train.{name}", getattr(self, name), "0 to 1")


@dataclass(frozen=True)
class DiffusionLoss(LossSettings):
    """batch_size: of all devices and accumulation parts together; times are spread evenly over it."""

    batch_size: int = field(kw_only=True)


def uncertainty(weight: Float[Array, " features"], log_snr: Float[Array, " batch"]) -> Float[Array, " batch"]:
    """u of each sample; 0 for the initial weight of 0."""
    rng = np.random.default_rng(0)
    frequencies, phases = rng.standard_normal(_FEATURES), rng.random(_FEATURES)
    angles = 2 * np.pi * (log_snr[:, None] / 4.0 * frequencies + phases)
    return jnp.asarray(jnp.cos(angles) @ weight * np.sqrt(2.0 / _FEATURES))


def spread_times(key: Key, index: Int[Array, " b"], batch_size: int, num_train_steps: int) -> Int[Array, " b"]:
    """Times of the samples at `index` of a global batch: one offset for all, one time in every B-th part of the
    range (Kingma et al. 2021, app. I.1)."""
    uniform = (jax.random.uniform(key) + index / batch_size) % 1.0
    return jnp.minimum((uniform * num_train_steps).astype(jnp.int32), num_train_steps - 1)


def drop_conditions(
    key: Key, present: Bool[Array, "b n"], whole: float, each: float, index: Array
) -> Bool[Array, "b n"]:
    """`present` with the whole condition gone with probability `whole`, each covariate with `each`; per sample."""

    def one(key: Key, row: Bool[Array, " n"]) -> Bool[Array, " n"]:
        first, second = jax.random.split(key)
        keep = jax.random.uniform(first) >= whole
        return row & keep & (jax.random.uniform(second, row.shape) >= each)

    return jax.vmap(one)(sample_keys(key, index), present)


def _noise(key: Key, index: Array, shape: tuple[int, ...]) -> Array:
    return jax.vmap(lambda k: jax.random.normal(k, shape))(sample_keys(key, index))


def _clean(codec: Codec, batch: Batch, key: Key) -> Array:
    """What noise is added to. The key is folded with a number of its own: other draws stay as they are."""
    return codec.encode(to_unit(batch["image"]), sample_keys(jax.random.fold_in(key, 4), batch["index"]))


def make_loss(module: nn.Module, process: Process, settings: DiffusionLoss, codec_of: CodecOf | None = None) -> LossFn:
    """loss(params, model_state, batch, key, update) for `step.build_step`. codec_of: None works on pixels.

    batch: image uint8|float32 [b, *spatial, c], values f32 [b, n], present bool [b, n], index int32 [b].
    Metrics: "mse", the unweighted squared error of the network's own output.
    """

    def loss(
        params: Params, model_state: Any, batch: Batch, key: Key, update: Array
    ) -> tuple[Array, tuple[Metrics, Any]]:
        time_key, noise_key, drop_key, dropout_key = jax.random.split(key, 4)
        index = batch["index"]
        x0 = _clean(codec_of(model_state) if codec_of else PixelCodec(process), batch, key)
        level = process.level(spread_times(time_key, index, settings.batch_size, process.num_train_steps))
        eps = _noise(noise_key, index, x0.shape[1:])
        x = process.add_noise(x0, eps, level)
        present = drop_conditions(drop_key, batch["present"], settings.drop_probability, settings.drop_each, index)
        with dropout_by_sample(index):
            output: Any = module.apply(
                {"params": network_params(params), **model_state},
                x,
                level.t,
                batch["values"],
                present,
                train=True,
                rngs={"dropout": dropout_key},
            )
        target = process.target(x0, eps, level)
        error = denoising.per_sample_loss(output, target, settings.loss)
        log_snr = process.log_snr(level)
        if settings.loss_weight == UNCERTAINTY:
            u = uncertainty(params[UNCERTAINTY]["weight"], log_snr)
            value = jnp.mean(jnp.exp(-u) * error + u)
        else:
            value = jnp.mean(denoising.loss_weight(settings.loss_weight, log_snr, process.prediction) * error)
        mse = denoising.per_sample_loss(output, target, "mse")
        return value, ({"mse": jnp.mean(mse)}, model_state)

    return loss


def make_measure(module: nn.Module, process: Process, codec_of: CodecOf | None = None) -> MeasureFn:
    """measure(params, model_state, batch, key) -> {"validation_loss": [b]}: unweighted MSE, nothing dropped.

    Noise and time of an image depend on its index alone: values are comparable between runs that share
    data, schedule and prediction.
    """

    def measure(params: Params, model_state: Any, batch: Batch, key: Key) -> Metrics:
        index = batch["index"]
        x0 = _clean(codec_of(model_state) if codec_of else PixelCodec(process), batch, key)
        steps = process.num_train_steps
        uniform = ((index + 0.5) * GOLDEN) % 1.0
        level = process.level(jnp.minimum((uniform * steps).astype(jnp.int32), steps - 1))
        eps = _noise(key, index, x0.shape[1:])
        x = process.add_noise(x0, eps, level)
        output: Any = module.apply(
            {"params": network_params(params), **model_state},
            x,
            level.t,
            batch["values"],
            batch["present"],
            train=False,
        )
        return {"validation_loss": denoising.per_sample_loss(output, process.target(x0, eps, level), "mse")}

    return measure


def make_init(
    module: nn.Module, image_shape: tuple[int, ...], covariates: int, settings: DiffusionLoss | None = None
) -> Callable[[Key], dict[str, Any]]:
    """init(key) -> variables, for images [*spatial, c]; with the loss's own parameters where it has any."""

    def init(key: Key) -> dict[str, Any]:
        x = jnp.zeros((1, *image_shape), jnp.float32)
        null = jnp.zeros((1, covariates), jnp.float32), jnp.zeros((1, covariates), bool)
        variables = dict(module.init(key, x, jnp.zeros((1,), jnp.float32), *null))
        if settings is not None and settings.loss_weight == UNCERTAINTY:
            variables["params"] = {**variables["params"], UNCERTAINTY: {"weight": jnp.zeros(_FEATURES)}}
        return variables

    return init
