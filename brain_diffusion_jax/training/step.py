"""The part of a train step that every task shares: gradients, accumulation, update, averages.

A task gives `loss(params, model_state, batch, key, update) -> (mean loss, (metrics, model_state))`, where
`metrics` are means over the batch and every random draw of a sample depends on (key, batch["index"])
alone. update: int32, how many updates the weights have had; the same for every part of a batch. Where samples
may lack the label that is learned, the mean is over `sample_weights`. Then sharding, pmap and accumulation change
nothing but the order of summation.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from brain_diffusion_jax.array_types import Key, Params
from brain_diffusion_jax.training.averages import ema as averages
from brain_diffusion_jax.training.state import TrainState

Batch = dict[str, jax.Array]
Metrics = dict[str, jax.Array]
LossFn = Callable[[Params, Any, Batch, Key, jax.Array], tuple[jax.Array, tuple[Metrics, Any]]]
Gradients = tuple[Params, Metrics, Any]  # mean gradient, mean metrics, model_state
GradientsFn = Callable[[Params, Any, Batch, Key, jax.Array], Gradients]
StepFn = Callable[[TrainState, Batch, Key], tuple[TrainState, Metrics]]
# Steps before a loss can count as a spike: until then there is no mean to compare with.
SPIKE_AFTER = 20
# Key of a batch: 1 from a process that is to stop, so that all stop after the same step.
VOTE = "stop"
# Key of a batch: float32 [b], what each sample counts; see `known_weights`.
WEIGHT = "known_weight"


def _split(batch: Batch, parts: int) -> Batch:
    """[b, ...] -> [parts, b/parts, ...]; strided, so that each device keeps its own samples."""
    parted: Batch = jax.tree.map(lambda a: jnp.swapaxes(a.reshape(-1, parts, *a.shape[1:]), 0, 1), batch)
    return parted


def gradients(loss: LossFn, accumulation: int = 1) -> GradientsFn:
    """(params, model_state, batch, key, update) -> (mean gradient, mean metrics, model_state), in so many parts."""
    value_and_grad = jax.value_and_grad(loss, has_aux=True)

    def whole(params: Params, model_state: Any, batch: Batch, key: Key, update: jax.Array) -> Gradients:
        (value, (metrics, model_state)), grads = value_and_grad(params, model_state, batch, key, update)
        return grads, {"loss": value, **metrics}, model_state

    if accumulation == 1:
        return whole

    def in_parts(params: Params, model_state: Any, batch: Batch, key: Key, update: jax.Array) -> Gradients:
        def body(carry: tuple[Params, Any], part: Batch) -> tuple[tuple[Params, Any], Metrics]:
            total, model_state = carry
            grads, metrics, model_state = whole(params, model_state, part, key, update)
            return (jax.tree.map(jnp.add, total, grads), model_state), metrics

        zeros = jax.tree.map(jnp.zeros_like, params)
        (total, model_state), metrics = jax.lax.scan(body, (zeros, model_state), _split(batch, accumulation))
        mean = jax.tree.map(lambda g: g / accumulation, total)
        return mean, jax.tree.map(lambda m: jnp.mean(m, axis=0), metrics), model_state

    return in_parts


def known_weights(known: jax.Array, axis_name: str | None = None) -> jax.Array:
    """What each sample counts, float32 [b]: 0 where its label is not known, else 1 / (the fraction that is known).

    The fraction is of the whole batch: a mean over any equal parts of it is then the mean over its known samples.
    """
    counts = known.astype(jnp.float32)
    fraction = jnp.mean(counts)
    if axis_name is not None:
        fraction = jax.lax.pmean(fraction, axis_name)
    return counts / jnp.maximum(fraction, np.finfo(np.float32).tiny)


def sample_weights(batch: Batch, known: jax.Array) -> jax.Array:
    """The weights that `build_step` gave a batch, or those of the batch as it is. known: bool [b]."""
    return batch[WEIGHT] if WEIGHT in batch else known_weights(known)


def _is_good(state: TrainState, loss: jax.Array, norm: jax.Array, spike_factor: float) -> jax.Array:
    good = jnp.isfinite(loss) & jnp.isfinite(norm)
    if spike_factor:
        good &= (state.accepted < SPIKE_AFTER) | (loss <= spike_factor * state.loss_mean)
    return good


def build_step(
    loss: LossFn,
    optimizer: optax.GradientTransformation,
    *,
    ema_decay: float = 0.999,
    power_ema: tuple[float, ...] = (),
    accumulation: int = 1,
    spike_factor: float = 0.0,
    axis_name: str | None = None,
    known: Callable[[Batch], jax.Array] | None = None,
    summed: Callable[[Params], Params] = lambda gradient: gradient,
) -> StepFn:
    """A pure step (state, batch, key) -> (state, metrics); key is the run's, folded with state.step here.

    A step whose loss or gradient is not finite, or whose loss is above spike_factor times its running
    mean (0: off), changes only the step number and reports metrics["accepted"] = 0.
    axis_name: the mapped axis under pmap, over which gradients and metrics are averaged.
    known: batch -> bool [b], the samples whose label is known, where a loss needs one.
    summed: of a layout that splits weights, see `mesh.Layout.summed`.
    """
    grad_fn = gradients(loss, accumulation)
    gammas = {f"{sigma:g}": averages.power_exponent(sigma) for sigma in power_ema}

    def step(state: TrainState, batch: Batch, key: Key) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(key, state.step)
        batch = dict(batch)
        votes = batch.pop(VOTE, None)
        if known is not None:
            batch[WEIGHT] = known_weights(known(batch), axis_name)
        grads, metrics, model_state = grad_fn(state.params, state.model_state, batch, key, state.accepted)
        grads = summed(grads)
        if votes is not None:
            metrics = {**metrics, VOTE: jnp.mean(votes)}
        if axis_name is not None:
            grads, metrics, model_state = jax.lax.pmean((grads, metrics, model_state), axis_name)
        norm = optax.global_norm(grads)
        good = _is_good(state, metrics["loss"], norm, spike_factor)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, jax.tree.map(lambda u: u * state.lr_scale, updates))
        mean_decay = jnp.minimum(0.98, state.accepted / (state.accepted + 1.0))
        new = state.replace(
            params=params,
            opt_state=opt_state,
            model_state=model_state,
            ema=averages.mix(state.ema, params, averages.plain_decay(state.step, ema_decay)),
            power_ema={
                name: averages.mix(state.power_ema[name], params, averages.power_decay(state.step, gamma))
                for name, gamma in gammas.items()
            },
            loss_mean=mean_decay * state.loss_mean + (1.0 - mean_decay) * metrics["loss"],
            accepted=state.accepted + 1,
        )
        new = jax.tree.map(lambda a, b: jnp.where(good, a, b), new, state)
        metrics = {**metrics, "grad_norm": norm, "accepted": good.astype(jnp.float32)}
        return new.replace(step=state.step + 1), metrics

    return step


def dropout_by_sample(index: jax.Array) -> AbstractContextManager[None]:
    """Within it nn.Dropout draws a mask for each sample from its place in the global batch, like everything else here.

    Dropped arrays have samples along their first axis.
    """

    def draw(
        call: Callable[..., Any],
        arguments: tuple[Any, ...],
        named: dict[str, Any],
        context: nn.module.InterceptorContext,
    ) -> Any:
        drop = context.module
        if not isinstance(drop, nn.Dropout) or context.method_name != "__call__" or named.get("deterministic"):
            return call(*arguments, **named)
        keys = sample_keys(drop.make_rng(drop.rng_collection), index)
        (x,) = arguments
        return jax.vmap(lambda one, key: call(one, rng=key, **named))(x, keys)

    return nn.intercept_methods(draw)


def sample_keys(key: Key, index: jax.Array) -> Key:
    """One key for each sample of a batch, from its place in the global batch alone."""
    return jax.vmap(lambda i: jax.random.fold_in(key, i))(index)
