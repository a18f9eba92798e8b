"""Sampling over guidance scales, options and seeds in one compiled call with common noise."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Float, PyTree

from brain_diffusion_jax.array_types import Condition, DenoiseFn, Image, Key, Level
from brain_diffusion_jax.diffusion import guidance
from brain_diffusion_jax.diffusion.samplers.base import Sampler, run, sample_keys, typed_key
from brain_diffusion_jax.errors import InputError


class Rest(NamedTuple):
    """The static part of a pytree: its structure and its leaves that are no arrays; hashable.

    kinds: the node types. JAX (0.12) holds the structures of two different dataclasses for equal.
    """

    structure: Any
    kinds: tuple[Any, ...]
    fixed: tuple[Any, ...]


def split_arrays(tree: PyTree) -> tuple[list[Any], Rest]:
    """(arrays, rest) of a pytree that may hold functions; rest is hashable, for a static argument of jit.

    Python numbers count as rest: they are compiled in, so that an eta of 0.0 draws no noise.
    """
    leaves, structure = jax.tree.flatten(tree)
    traced = [leaf if isinstance(leaf, jax.Array | np.ndarray | np.number) else None for leaf in leaves]
    fixed = tuple(leaf if array is None else None for leaf, array in zip(leaves, traced, strict=True))
    return traced, Rest(structure, _kinds(structure), fixed)


def _kinds(structure: Any) -> tuple[Any, ...]:
    node = structure.node_data()
    return (node and node[0], *map(_kinds, structure.children()))


def join_arrays(traced: list[Any], rest: Rest) -> PyTree:
    """The inverse of `split_arrays`."""
    leaves = [b if a is None else a for a, b in zip(traced, rest.fixed, strict=True)]
    return jax.tree.unflatten(rest.structure, leaves)


def check_scales(scales: Any) -> Float[np.ndarray, " s *n"]:
    """Guidance scales as float32 [s], or [s, n] for one scale a covariate.

    Raises InputError for NaN, infinities and what is no number; warns about scales below 0.
    """
    try:
        values = np.atleast_1d(np.asarray(scales, np.float32))
    except (TypeError, ValueError):
        raise InputError("sweep", "guidance_scale", scales, "numbers") from None
    if values.ndim > 2 or not values.size or not np.all(np.isfinite(values)):
        raise InputError("sweep", "guidance_scale", values.tolist(), "one or more finite numbers")
    if np.any(values < 0):
        warnings.warn(
            f"sweep: guidance_scale: found {values.min():g}; below 0 pushes away from the condition", stacklevel=3
        )
    return values


@partial(jax.jit, static_argnames=("rest", "rule", "share_first", "mesh"))
def _sweep(traced, rest, rule, share_first, mesh, levels, x_init, condition, keys, swept):
    own_noise = keys.ndim == 2

    def configurations(traced, levels, x_init, condition, keys, swept):
        denoise, sampler, fixed = join_arrays(traced, rest)

        def one(configuration, x_init, keys):
            scale, guidance_options, sampler_options = configuration
            guided = denoise if scale is None else rule(denoise, scale, **fixed, **guidance_options)
            method = dataclasses.replace(sampler, **sampler_options) if sampler_options else sampler
            return run(method, guided, x_init, levels, condition, keys, unroll_first=share_first)

        if not jax.tree.leaves(swept) and not own_noise:
            return one(swept, x_init, keys)[None]
        noise_axis = 0 if own_noise else None
        return jax.vmap(one, (0, noise_axis, noise_axis))(swept, x_init, keys)

    if mesh is not None:
        # shard_map, not jit alone: the partitioner merges the vmap with the sharded axis and gathers every layer.
        noise, rows, whole = _along(1 if own_noise else 0), _along(0), PartitionSpec()
        specs = (whole, whole, noise, rows, noise, whole)
        configurations = jax.shard_map(configurations, mesh=mesh, in_specs=specs, out_specs=_along(1), check_vma=False)
    return configurations(traced, levels, x_init, condition, keys, swept)


def _along(axis: int) -> PartitionSpec:
    return PartitionSpec(*(None,) * axis, "data")


def memory_needed(*args: Any, **settings: Any) -> int:
    """Bytes of device memory that `sweep` with these arguments needs, from the compiler's memory analysis."""
    traced, static = _arguments(*args, **settings)
    plan = _sweep.lower(*traced, **static).compile().memory_analysis()
    assert plan is not None
    return int(plan.temp_size_in_bytes + plan.output_size_in_bytes + plan.argument_size_in_bytes)


def _arguments(
    denoise,
    sampler,
    levels,
    x_init,
    condition,
    keys,
    guidance_scales,
    *,
    rule,
    guidance_options,
    sampler_options,
    fixed,
    share_first=False,
    mesh=None,
):
    traced, rest = split_arrays((denoise, sampler, dict(fixed)))
    levels = jax.tree.map(lambda v: jnp.asarray(v, x_init.dtype), levels)
    swept = (guidance_scales, dict(guidance_options), dict(sampler_options))
    if condition is not None:
        condition = Condition(jnp.asarray(condition.values), jnp.asarray(condition.present))
    arrays = dict(levels=levels, x_init=x_init, condition=condition, keys=keys, swept=swept)
    return (traced,), dict(rest=rest, rule=rule, share_first=share_first, mesh=mesh, **arrays)


def _rows(tree: PyTree, rows: np.ndarray, axis: int) -> PyTree:
    return jax.tree.map(lambda v: jnp.take(v, rows, axis=axis), tree)


def sweep(
    denoise: DenoiseFn,
    sampler: Sampler,
    levels: Level | tuple[Level, Level],
    x_init: Image,
    condition: Condition | None,
    key: Key,
    guidance_scales: Float[Any, " s *n"] | None = None,
    *,
    rule: Callable[..., DenoiseFn] = guidance.classifier_free,
    guidance_options: Mapping[str, Float[Any, " s"]] | None = None,
    sampler_options: Mapping[str, Float[Any, " s"]] | None = None,
    fixed: Mapping[str, Any] | None = None,
    chunk: int | None = None,
    memory_limit: int | None = None,
    devices: Sequence[Any] | None = None,
    share_first: bool = False,
) -> Float[Array, "s batch *spatial channels"]:
    """Samples of every configuration of a sweep from the same noise, in one compiled program.

    denoise: as of Process.denoise_fn; parameters inside a jax.tree_util.Partial are traced, not baked in.
    Compiled once for a denoiser's structure, a sampler, and the shapes: new scales, conditions, keys and
    parameters do not recompile. Samples of a condition do not depend on the others in the batch.

    levels: [n + 1], or pairs of [n] each. x_init: [batch, *spatial, channels] at the first level.
    guidance_scales: [s]; None samples the plain model, with one network call of n instead of 2n.
    rule: guidance transform (denoise, scale, **guidance_options). guidance_options, sampler_options: further axes
    of the same s configurations, e.g. {"rescale": [s]}, {"eta": [s]}. fixed: options of the rule that all share.
    key: one key; [batch] keys; or [s, batch] keys with x_init [s, batch, ...], for configurations with their own seeds.
    chunk: conditions a call (all configurations of them). memory_limit: bytes; InputError beyond it, with a chunk
    that would fit. devices: shard conditions over them, at most one for each condition. share_first: one network
    call for all configurations in the first step, where their x is the same; costs a second compilation of the
    network. Raises InputError for axes of unequal length.
    """
    x_init = jnp.asarray(x_init)
    values = None if guidance_scales is None else jnp.asarray(check_scales(guidance_scales))
    axes = {
        name: jnp.asarray(v, jnp.float32) for name, v in {**(guidance_options or {}), **(sampler_options or {})}.items()
    }
    counts = {name: v.shape[0] for name, v in axes.items()} | (
        {} if values is None else {"guidance_scales": len(values)}
    )
    key = typed_key(key)
    if key.ndim == 2:
        counts["key"] = key.shape[0]
    if len(set(counts.values())) > 1:
        raise InputError("sweep", "axes", counts, "the same number of configurations in each")
    noise_axis = 1 if key.ndim == 2 else 0
    n = x_init.shape[noise_axis]
    keys = key if key.ndim == 2 else sample_keys(key, n)
    size = min(chunk or n, n)
    if size < 1:
        raise InputError("sweep", "chunk", chunk, "at least 1")
    if devices:
        devices = devices[:size]
        size = -(-size // len(devices)) * len(devices)
    settings = dict(
        rule=rule,
        guidance_options={name: axes[name] for name in guidance_options or {}},
        sampler_options={name: axes[name] for name in sampler_options or {}},
        fixed=fixed or {},
        share_first=share_first and key.ndim < 2,
        mesh=Mesh(np.asarray(devices), ("data",)) if devices else None,
    )
    parts = []
    for first in range(0, n, size):
        rows = np.minimum(
            np.arange(first, first + size), n - 1
        )  # the last chunk is padded: same shapes, no recompilation
        whole = size == n
        part = (x_init, keys) if whole else _rows((x_init, keys), rows, noise_axis)
        chosen = condition if condition is None or whole else _rows(condition, rows, 0)
        arguments = (denoise, sampler, levels, part[0], chosen, part[1], values)
        if memory_limit is not None and first == 0:
            _check_memory(memory_needed(*arguments, **settings), memory_limit, size)
        traced, static = _arguments(*arguments, **settings)
        parts.append(_sweep(*traced, **static)[:, : n - first])
    return parts[0] if len(parts) == 1 else jnp.concatenate(parts, axis=1)


def _check_memory(needed: int, limit: int, chunk: int) -> None:
    if needed > limit:
        fits = int(chunk * limit / needed)
        advice = (
            f"chunk={fits}" if fits else "fewer configurations or a smaller network, even one condition does not fit"
        )
        found = f"{needed / 2**20:.0f} MiB for chunk={chunk}"
        raise InputError("sweep", "memory", found, f"{limit / 2**20:.0f} MiB: {advice}")
