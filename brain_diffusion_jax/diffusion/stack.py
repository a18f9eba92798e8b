"""Volumes from a slice model: all slices of a stack sampled together, so that neighbours agree.

Two couplings, both with an off value: the slices start from noise that shares its low frequencies across
the stack, and at every step the low frequencies of the predicted images move towards their neighbours'.
The batch axis is the slice axis, in order.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from brain_diffusion_jax.array_types import Condition, DenoiseFn, Image, Key, Level, Prediction
from brain_diffusion_jax.diffusion.prediction import expand, from_x0, under_clipping
from brain_diffusion_jax.diffusion.samplers.base import Sampler, run, sample_keys
from brain_diffusion_jax.errors import InputError


def _low_pass(shape: tuple[int, ...], cutoff: float) -> Float[np.ndarray, "*half"]:
    """1 for spatial frequencies up to `cutoff` of the Nyquist frequency, 0 above, for rfftn over the spatial axes."""
    axes = [np.fft.fftfreq(n) for n in shape[:-1]] + [np.fft.rfftfreq(shape[-1])]
    radius = np.sqrt(sum(f**2 for f in np.meshgrid(*axes, indexing="ij")))
    return (radius <= cutoff / 2).astype(np.float32)


def low_frequencies(x: Image, cutoff: float) -> Image:
    """x: [slices, *spatial, channels] with only its spatial frequencies up to `cutoff` (0 to 1 of Nyquist)."""
    axes = tuple(range(1, x.ndim - 1))
    shape = tuple(x.shape[a] for a in axes)
    spectrum = jnp.fft.rfftn(x, axes=axes) * _low_pass(shape, cutoff)[None, ..., None]
    return jnp.fft.irfftn(spectrum, s=shape, axes=axes).astype(x.dtype)


def _across(width: float, count: int) -> Float[np.ndarray, "count wide"]:
    """Rows of unit length that mix count + 2 margin independent fields into a stack, Gaussian of `width` slices."""
    margin = max(1, int(np.ceil(4 * width)))
    offset = np.arange(count + 2 * margin)[None, :] - margin - np.arange(count)[:, None]
    weights = np.exp(-0.5 * (offset / max(width, 1e-6)) ** 2)
    return (weights / np.sqrt(np.sum(weights**2, axis=1, keepdims=True))).astype(np.float32)


def shared_noise(
    key: Key, shape: tuple[int, ...], correlation_slices: float = 4.0, cutoff: float = 0.3, shared_fraction: float = 1.0
) -> Image:
    """Noise for a stack [slices, *spatial, channels]: white in each slice, low frequencies shared by neighbours.

    correlation_slices: neighbours d apart correlate with exp(-d^2 / (4 width^2)) below `cutoff` of the Nyquist
    frequency, not at all above. shared_fraction: of the variance below
    `cutoff`, 0 (off, independent slices) to 1. Raises InputError outside these ranges.
    """
    if correlation_slices <= 0 or not 0 <= shared_fraction <= 1 or not 0 <= cutoff <= 1.5:
        found = (correlation_slices, cutoff, shared_fraction)
        raise InputError("stack", "correlation_slices, cutoff, shared_fraction", found, "above 0; 0 to 1.5; 0 to 1")
    first, second = jax.random.split(key)
    weights = _across(correlation_slices, shape[0])
    fields = jax.random.normal(first, (weights.shape[1], *shape[1:]))
    smooth = jnp.tensordot(jnp.asarray(weights), fields, axes=1)
    own = jax.vmap(lambda k: jax.random.normal(k, shape[1:]))(sample_keys(second, shape[0]))
    mixed = jnp.sqrt(shared_fraction) * smooth + jnp.sqrt(1 - shared_fraction) * own
    return own - low_frequencies(own, cutoff) + low_frequencies(mixed, cutoff)


@under_clipping
def overlap(denoise: DenoiseFn, scale: Float[Array, ""] | float, cutoff: float = 0.5) -> DenoiseFn:
    """x0 of each slice with its low frequencies moved towards the mean of its neighbours'; eps follows.

    scale: 0 is off, 1 replaces them; the first and the last slice have one neighbour.
    """
    if isinstance(scale, int | float) and scale == 0:
        return denoise

    def guided(x: Image, level: Level, condition: Condition | None) -> Prediction:
        x0 = denoise(x, level, condition).x0
        if x0.shape[0] < 2:
            return from_x0(x0, x, level)
        low = low_frequencies(x0, cutoff)
        before = jnp.concatenate([low[1:2], low[:-1]])
        after = jnp.concatenate([low[1:], low[-2:-1]])
        return from_x0(x0 + expand(scale, x0) * ((before + after) / 2 - low), x, level)

    return guided


def sample_stack(
    sampler: Sampler,
    denoise: DenoiseFn,
    levels: Level,
    condition: Condition,
    key: Key,
    shape: tuple[int, ...],
    *,
    correlation_slices: float = 4.0,
    noise_cutoff: float = 0.3,
    overlap_scale: float = 0.3,
    overlap_cutoff: float = 0.5,
) -> Float[Array, "slices *spatial channels"]:
    """One volume from a slice model: slice i has condition i. shape: [*spatial, channels] of one slice.

    denoise: already guided. A deterministic sampler (ddim with eta 0) keeps what the noise has in common. The
    couplings are off with correlation_slices tiny and overlap_scale 0.
    """
    slices = len(condition.values)
    noise = shared_noise(jax.random.fold_in(key, 0), (slices, *shape), correlation_slices, noise_cutoff)
    coupled = overlap(denoise, overlap_scale, overlap_cutoff)
    return run(sampler, coupled, noise, levels, condition, jax.random.fold_in(key, 1))


def adjacent_differences(volume: Float[Any, " slices *rest"], axis: int = 0) -> Float[np.ndarray, " pairs"]:
    """Mean |difference| of each pair of neighbouring planes along an axis: roughness, to compare with real volumes."""
    steps = np.abs(np.diff(np.moveaxis(np.asarray(volume, np.float32), axis, 0), axis=0))
    return steps.reshape(len(steps), -1).mean(axis=1)
