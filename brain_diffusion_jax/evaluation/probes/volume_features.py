"""Features of volumes for Frechet distances: what goes into a network, and the name that a distance carries."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from brain_diffusion_jax.evaluation.probes.features import Extractor, on_all_devices

_EPS = 1e-8  # a constant volume becomes zeros


def standardised(images: Float[Array, "n *spatial c"]) -> Float[Array, "n *spatial c"]:
    """Each image minus its mean, over its standard deviation, both over all its pixels, background included."""
    axes = tuple(range(1, images.ndim))
    centred = images - images.mean(axes, keepdims=True)
    return centred / (jnp.sqrt(jnp.square(centred).mean(axes, keepdims=True)) + _EPS)


def pooled_extractor(
    name: str,
    version: str,
    apply: Callable[[Any, Array], Array],
    variables: Mapping[str, Any],
    *,
    prepare: Callable[[Array], Array] = standardised,
) -> Extractor:
    """An extractor for unit images [n, *spatial, c]: prepare, apply(variables, images) -> maps, their mean over space.

    name: stands in FD[name], such as "medicalnet50" for layer4 of MedicalNet's ResNet-50; version: of the weights.
    prepare: by default what MedicalNet expects. Maps [n, *spatial, d] or features [n, d] give values [n, d].
    """

    def features(weights: Any, images: jax.Array) -> jax.Array:
        maps = apply(weights, prepare(images))
        return maps.mean(tuple(range(1, maps.ndim - 1)), dtype=jnp.float32) if maps.ndim > 2 else maps

    return Extractor(name, version, on_all_devices(features, variables))
