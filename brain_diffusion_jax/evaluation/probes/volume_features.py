"""Features of volumes for Frechet distances: what goes into a network, and the name that a distance carries."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from brain_diffusion_jax.evaluation.probes.features import Extractor, on_all_devices
from brain_diffusion_jax.models.backbones import deepbet, medicalnet

_VOXELS = 2**22  # at once on a device: networks of volumes need hundreds of numbers a voxel


def pooled_extractor(
    name: str,
    version: str,
    apply: Callable[[Any, Array], Array],
    variables: Mapping[str, Any],
    prepare: Callable[[Array], Array],
) -> Extractor:
    """An extractor for unit volumes [n, x, y, z, c]: prepare, apply(variables, volumes) -> maps, their mean over space.

    name: stands in FD[name]; version: of the weights. Maps [n, x, y, z, d] or features [n, d] give values [n, d].
    """

    def features(weights: Any, volumes: jax.Array) -> jax.Array:
        maps = apply(weights, prepare(volumes))
        return maps.mean((1, 2, 3), dtype=jnp.float32) if maps.ndim == 5 else maps

    run = on_all_devices(features, variables)

    def by_few(volumes: np.ndarray) -> Float[np.ndarray, "n d"]:
        few = max(1, _VOXELS // int(np.prod(volumes.shape[1:]))) * jax.local_device_count()
        return np.concatenate([run(volumes[first : first + few]) for first in range(0, len(volumes), few)])

    return Extractor(name, version, by_few, spatial_dims=3)


def medicalnet_extractor(network: medicalnet.MedicalNet, variables: Mapping[str, Any], version: str) -> Extractor:
    """The last maps of MedicalNet, pooled: FD[medicalnet50] is of 2048 numbers, as in Pinaya et al. 2022."""

    def apply(weights: Any, volumes: jax.Array) -> jax.Array:
        maps: Any = network.apply(weights, volumes)
        return maps[-1]  # type: ignore[no-any-return]

    return pooled_extractor(f"medicalnet{network.depth}", version, apply, variables, medicalnet.prepare_input)


def deepbet_extractor(network: deepbet.DeepbetEncoder, variables: Mapping[str, Any], version: str) -> Extractor:
    """Maps of all stages of deepbet's encoder, pooled: FD[deepbet] is of 16 + 32 + 64 numbers for three."""

    def apply(weights: Any, volumes: jax.Array) -> jax.Array:
        maps: Any = network.apply(weights, volumes)
        return jnp.concatenate([m.mean((1, 2, 3)) for m in maps], axis=-1)

    return pooled_extractor("deepbet", version, apply, variables, deepbet.prepare_input)
