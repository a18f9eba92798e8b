"""Sampling over guidance scales in one compiled call with common noise."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from brain_diffusion_jax.array_types import Condition, DenoiseFn, Image, Key, Level
from brain_diffusion_jax.diffusion import guidance
from brain_diffusion_jax.diffusion.samplers.base import Sampler, run, typed_key
from brain_diffusion_jax.errors import InputError


def split_arrays(tree: PyTree) -> tuple[list[Any], tuple[Any, tuple[Any, ...]]]:
    """(arrays, rest) of a pytree that may hold functions; rest is hashable, for a static argument of jit.

    Python numbers count as rest: they are compiled in, so that an eta of 0.0 draws no noise.
    """
    leaves, structure = jax.tree.flatten(tree)
    traced = [leaf if isinstance(leaf, jax.Array | np.ndarray | np.number) else None for leaf in leaves]
    fixed = tuple(leaf if array is None else None for leaf, array in zip(leaves, traced, strict=True))
    return traced, (structure, fixed)


def join_arrays(traced: list[Any], rest: tuple[Any, tuple[Any, ...]]) -> PyTree:
    """The inverse of `split_arrays`."""
    structure, fixed = rest
    return jax.tree.unflatten(structure, [b if a is None else a for a, b in zip(traced, fixed, strict=True)])


def check_scales(scales: Any) -> Float[np.ndarray, " s"]:
    """Guidance scales as float32 [s]; NaN and infinity are refused, negative ones warned about."""
    try:
        values = np.atleast_1d(np.asarray(scales, np.float32))
    except (TypeError, ValueError):
        raise InputError("sweep", "guidance_scale", scales, "numbers") from None
    if values.ndim != 1 or not values.size or not np.all(np.isfinite(values)):
        raise InputError("sweep", "guidance_scale", values.tolist(), "one or more finite numbers")
    if np.any(values < 0):
        warnings.warn(
            f"sweep: guidance_scale: found {values.min():g}; below 0 pushes away from the condition", stacklevel=3
        )
    return values


@partial(jax.jit, static_argnames=("rest", "rule"))
def _sweep(traced, rest, rule, levels, x_init, condition, key, scales):
    denoise, sampler = join_arrays(traced, rest)

    def one(scale):
        guided = denoise if scale is None else rule(denoise, scale)
        return run(sampler, guided, x_init, levels, condition, key)

    return one(None)[None] if scales is None else jax.vmap(one)(scales)


def sweep(
    denoise: DenoiseFn,
    sampler: Sampler,
    levels: Level,
    x_init: Image,
    condition: Condition | None,
    key: Key,
    scales: Float[Any, " s"] | None = None,
    *,
    rule: Callable[[DenoiseFn, Any], DenoiseFn] = guidance.classifier_free,
) -> Float[Array, "s batch *spatial channels"]:
    """Samples for every guidance scale from the same noise, in one compiled program.

    denoise: as of Process.denoise_fn; parameters inside a jax.tree_util.Partial are traced, not baked in.
    Compiled once for a denoiser's structure, a sampler, and the shapes: new scales, conditions, keys and
    parameters do not recompile. scales: [s]; None samples the plain model, with one network call of n
    instead of 2n, and gives s = 1. rule: a guidance transform of (denoise, scale).
    """
    traced, rest = split_arrays((denoise, sampler))
    levels = jax.tree.map(lambda v: jnp.asarray(v, jnp.asarray(x_init).dtype), levels)
    values = None if scales is None else jnp.asarray(check_scales(scales))
    return _sweep(traced, rest, rule, levels, x_init, condition, typed_key(key), values)
