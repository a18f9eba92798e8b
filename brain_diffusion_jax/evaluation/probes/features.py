"""Feature extractors that carry their name and version, so that distances are never mixed up."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Float, Shaped

from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation.image_set import channels_last
from brain_diffusion_jax.pixels import full_scale

INCEPTION_DIMENSIONS = (64, 192, 768, 2048)


@dataclass(frozen=True)
class Extractor:
    """name: such as "small_cnn-pool"; version: of the weights; function: unit images [n, *spatial, c] -> [n, d].

    spatial_dims: 2 reads images, 3 volumes, 0 whatever comes.
    """

    name: str
    version: str
    function: Callable[[np.ndarray], np.ndarray]
    spatial_dims: int = 0


@dataclass(frozen=True)
class Features:
    """values: float32 [n, d], from the extractor of this name and version."""

    name: str
    version: str
    values: np.ndarray = field(repr=False)

    def __getitem__(self, rows: np.ndarray) -> Features:
        return Features(self.name, self.version, self.values[rows])


def require_same(a: Features, b: Features) -> None:
    """Distances between features of different extractors mean nothing."""
    if (a.name, a.version) != (b.name, b.version):
        raise InputError("features", "extractor", f"{b.name} ({b.version})", f"{a.name} ({a.version})")


def require_dims(extractor: Extractor, spatial_dims: int) -> None:
    """Refuse an extractor of volumes for slices, and one of slices for volumes, before anything is computed."""
    if extractor.spatial_dims not in (0, spatial_dims):
        kinds = {2: "images of two axes", 3: "volumes"}
        found, expected = kinds[spatial_dims], kinds[extractor.spatial_dims]
        raise InputError(f"extractor {extractor.name}", "images", found, expected)


def unit_batches(images: Shaped[np.ndarray, "n ..."], batch_size: int) -> Iterator[Float[np.ndarray, "b *spatial c"]]:
    """Batches of at most batch_size images in [0, 1]; uint8 is divided by 255."""
    images = channels_last(images)
    scale = np.float32(1 / full_scale(images.dtype))
    for start in range(0, len(images), batch_size):
        yield images[start : start + batch_size].astype(np.float32) * scale


def extract(
    extractor: Extractor,
    images: np.ndarray,
    batch_size: int = 64,
    progress: Callable[[int, int], None] | None = None,
) -> Features:
    """Features of all images, one batch in memory at a time. progress: (images done, all)."""
    if len(images) == 0:
        raise InputError("images", "set", "an empty set", "at least one image")
    parts: list[np.ndarray] = []
    for batch in unit_batches(images, batch_size):
        if progress is not None:
            progress(sum(map(len, parts)), len(images))
        part = np.asarray(extractor.function(batch), np.float32)
        if part.ndim != 2 or len(part) != len(batch):
            raise InputError(f"extractor {extractor.name}", "shape", part.shape, f"[{len(batch)}, dimensions]")
        parts.append(part)
    if progress is not None:
        progress(len(images), len(images))
    values = np.concatenate(parts)
    if not np.isfinite(values).all():
        raise InputError(f"extractor {extractor.name}", "values", "NaN or Inf", "finite features")
    return Features(extractor.name, extractor.version, values)


def on_all_devices(apply: Callable[[Any, jax.Array], Any], variables: Any) -> Callable[[np.ndarray], Any]:
    """A jitted function of images, the batch spread over this process's devices, the weights on each."""
    devices = jax.local_devices()
    mesh = Mesh(np.array(devices), ("data",))
    weights = jax.device_put(variables, NamedSharding(mesh, PartitionSpec()))
    compiled = jax.jit(apply)

    def run(images: np.ndarray) -> Any:
        rows = len(images)
        padding = -rows % len(devices)
        padded = np.concatenate([images, np.zeros((padding, *images.shape[1:]), images.dtype)])
        placed = jax.device_put(jnp.asarray(padded), NamedSharding(mesh, PartitionSpec("data")))
        return jax.tree.map(lambda x: np.asarray(x)[:rows], compiled(weights, placed))

    return run


def linen_extractor(
    name: str, version: str, module: Any, variables: Mapping[str, Any], **call_options: Any
) -> Extractor:
    """Any linen module as an extractor; `call_options` go to its __call__. Output is pooled to [n, d]."""

    def apply(weights: Any, images: jax.Array) -> jax.Array:
        maps = module.apply(weights, images, **call_options)
        return maps.mean(tuple(range(1, maps.ndim - 1))) if maps.ndim > 2 else maps

    return Extractor(name, version, on_all_devices(apply, variables))


def inception_extractor(variables: Mapping[str, Any], version: str, dimensions: int = 768) -> Extractor:
    """InceptionV3 as pytorch-fid uses it: features of 64, 192, 768 or 2048 dimensions, globally pooled."""
    from brain_diffusion_jax.models.backbones.inception_v3 import InceptionV3, prepare_input

    if dimensions not in INCEPTION_DIMENSIONS:
        raise InputError("inception", "dimensions", dimensions, f"one of {INCEPTION_DIMENSIONS}")
    module = InceptionV3(last=dimensions)

    def apply(weights: Any, images: jax.Array) -> jax.Array:
        maps: Any = module.apply(weights, prepare_input(images))
        return maps[dimensions].mean((1, 2))

    return Extractor(f"inception-{dimensions}", version, on_all_devices(apply, variables), spatial_dims=2)
