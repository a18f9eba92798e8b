"""Sampling over guidance scales, knobs and seeds in one compiled call with common noise."""

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
    """What is left of a pytree without its arrays. kinds: JAX takes structures of two dataclasses for equal (0.12)."""

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
    """Guidance scales as float32 [s] ([s, n] for one a covariate); NaN is refused, negative ones warned about."""
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

    def cells(traced, levels, x_init, condition, keys, swept):
        denoise, sampler, fixed = join_arrays(traced, rest)

        def one(cell, x_init, keys):
            scale, rule_knobs, sampler_knobs = cell
            guided = denoise if scale is None else rule(denoise, scale, **fixed, **rule_knobs)
            method = dataclasses.replace(sampler, **sampler_knobs) if sampler_knobs else sampler
            return run(method, guided, x_init, levels, condition, keys, unroll_first=share_first)

        if not jax.tree.leaves(swept) and not own_noise:
            return one(swept, x_init, keys)[None]
        noise_axis = 0 if own_noise else None
        return jax.vmap(one, (0, noise_axis, noise_axis))(swept, x_init, keys)

    if mesh is not None:
        # By hand: left to the partitioner, the vmap over cells merges with the sharded axis and gathers every layer.
        noise, rows, whole = _along(1 if own_noise else 0), _along(0), PartitionSpec()
        specs = (whole, whole, noise, rows, noise, whole)
        cells = jax.shard_map(cells, mesh=mesh, in_specs=specs, out_specs=_along(1), check_vma=False)
    return cells(traced, levels, x_init, condition, keys, swept)


def _along(axis: int) -> PartitionSpec:
    return PartitionSpec(*(None,) * axis, "data")


def memory_needed(*args: Any, **settings: Any) -> int:
    """Bytes that `sweep` with these arguments would need at once, as the compiler plans it."""
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
    scales,
    *,
    rule,
    knobs,
    sampler_knobs,
    fixed,
    share_first=False,
    mesh=None,
):
    traced, rest = split_arrays((denoise, sampler, dict(fixed)))
    levels = jax.tree.map(lambda v: jnp.asarray(v, x_init.dtype), levels)
    swept = (scales, dict(knobs), dict(sampler_knobs))
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
    scales: Float[Any, " s *n"] | None = None,
    *,
    rule: Callable[..., DenoiseFn] = guidance.classifier_free,
    knobs: Mapping[str, Float[Any, " s"]] | None = None,
    sampler_knobs: Mapping[str, Float[Any, " s"]] | None = None,
    fixed: Mapping[str, Any] | None = None,
    chunk: int | None = None,
    memory_limit: int | None = None,
    devices: Sequence[Any] | None = None,
    share_first: bool = False,
) -> Float[Array, "s batch *spatial channels"]:
    """Samples for every cell of a sweep from the same noise, in one compiled program.

    denoise: as of Process.denoise_fn; parameters inside a jax.tree_util.Partial are traced, not baked in.
    Compiled once for a denoiser's structure, a sampler, and the shapes: new scales, conditions, keys and
    parameters do not recompile. Samples of a condition do not depend on the others in the batch.

    scales: [s] guidance scales; None samples the plain model, with one network call of n instead of 2n.
    rule: guidance transform (denoise, scale, **knobs). knobs, sampler_knobs: further axes of the same s cells,
    e.g. {"rescale": [s]}, {"eta": [s]}. fixed: knobs of the rule that all cells share.
    key: one key; [batch] keys; or [s, batch] keys with x_init [s, batch, ...], for cells with different seeds.
    chunk: conditions a call (all cells of them); memory_limit: bytes, refused with a chunk that would fit.
    devices: shard conditions over them, at most one for each condition. share_first: one network call for all
    cells in the first step, where their x is the same; costs a second compilation of the network.
    """
    x_init = jnp.asarray(x_init)
    values = None if scales is None else jnp.asarray(check_scales(scales))
    axes = {name: jnp.asarray(v, jnp.float32) for name, v in {**(knobs or {}), **(sampler_knobs or {})}.items()}
    counts = {name: v.shape[0] for name, v in axes.items()} | ({} if values is None else {"scales": len(values)})
    key = typed_key(key)
    if key.ndim == 2:
        counts["key"] = key.shape[0]
    if len(set(counts.values())) > 1:
        raise InputError("sweep", "axes", counts, "the same number of cells in each")
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
        knobs={name: axes[name] for name in knobs or {}},
        sampler_knobs={name: axes[name] for name in sampler_knobs or {}},
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
        advice = f"chunk={fits}" if fits else "fewer cells or a smaller network, even one condition does not fit"
        found = f"{needed / 2**20:.0f} MiB for chunk={chunk}"
        raise InputError("sweep", "memory", found, f"{limit / 2**20:.0f} MiB: {advice}")
