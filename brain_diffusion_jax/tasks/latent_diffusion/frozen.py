"""The frozen autoencoder of a latent diffusion model: a codec of it, its place in a run, its latents on disk."""

from __future__ import annotations

import functools
import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from brain_diffusion_jax import files
from brain_diffusion_jax.array_types import Params
from brain_diffusion_jax.contract import Contract
from brain_diffusion_jax.data.shards.reader import MANIFEST
from brain_diffusion_jax.data.shards.rewrite import rewrite_shards
from brain_diffusion_jax.diffusion.codec import LatentCodec, LatentScale
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.models.autoencoder import Autoencoder
from brain_diffusion_jax.models.slabs import slab_counts
from brain_diffusion_jax.pixels import to_unit
from brain_diffusion_jax.tasks.autoencoder.config import RangedAutoencoder
from brain_diffusion_jax.tasks.autoencoder.model import AutoencoderModel, decoded, posterior
from brain_diffusion_jax.tasks.latent_diffusion.config import CodecSettings
from brain_diffusion_jax.tasks.opening import open_run

# Collection beside a network's parameters: {"autoencoder": parameters, "mean": [c], "std": [c]}. It is saved with
# every checkpoint, so that a run opens without the run of its autoencoder.
CODEC = "codec"
CODEC_FILE = "codec.json"  # of a latent cache


@dataclass(frozen=True)
class Frozen:
    """An autoencoder without its parameters. size: of the images."""

    config: RangedAutoencoder
    size: tuple[int, ...]
    channels: int = 1

    @functools.cached_property
    def module(self) -> Autoencoder:
        """The network."""
        return Autoencoder(self.config, len(self.size), self.channels)

    def codec(
        self, state: Mapping[str, Any], *, sample: bool = True, stored: bool = False, slabs: int = 1
    ) -> LatentCodec:
        """The codec with parameters and scale of a collection CODEC, which decodes in so many slabs.

        sample, stored: as of `LatentCodec`.
        """
        params, shape = state["autoencoder"], self.config.latent_shape((*self.size, self.channels))
        return LatentCodec(
            jax.tree_util.Partial(_Posterior(self), params),
            jax.tree_util.Partial(_Decoded(self, slabs), params),
            LatentScale(jnp.asarray(state["mean"]), jnp.asarray(state["std"])),
            shape,
            sample,
            stored,
        )


@dataclass(frozen=True)
class _Posterior:
    """Equal for equal autoencoders, so that one compiles once."""

    of: Frozen

    def __call__(self, params: Params, images: Any) -> Any:
        return posterior(self.of.module, self.of.config, params, images)


@dataclass(frozen=True)
class _Decoded:
    of: Frozen
    slabs: int = 1

    def __call__(self, params: Params, latents: Any) -> Any:
        return decoded(self.of.module, self.of.config, self.of.size, params, latents, self.slabs)


@jax.jit
def decode(codec: LatentCodec, x: jax.Array) -> jax.Array:
    """Images in [0, 1] of scaled latents."""
    return codec.decode(x)


def decode_memory(codec: LatentCodec) -> int:
    """Bytes that decoding one image takes, weights and image included, as the compiler plans it."""
    x = jax.ShapeDtypeStruct((1, *codec.shape), jnp.float32)
    plan = decode.lower(codec, x).compile().memory_analysis()
    assert plan is not None
    return int(plan.temp_size_in_bytes + plan.output_size_in_bytes + plan.argument_size_in_bytes)


def within_memory(frozen: Frozen, state: Mapping[str, Any], gib: float, *, sample: bool = True) -> LatentCodec:
    """The codec of `Frozen.codec` with the fewest slabs whose decoding takes at most so many GiB; 0 is whole.

    Every count that is tried is compiled. Raises InputError where nothing fits: it says what would.
    """
    if not gib:
        return frozen.codec(state, sample=sample)
    needed: dict[int, float] = {}
    for slabs in slab_counts(frozen.config, frozen.size[0]):
        codec = frozen.codec(state, sample=sample, slabs=slabs)
        needed[slabs] = decode_memory(codec) / 2**30
        if needed[slabs] <= gib:
            return codec
    least = min(needed, key=needed.__getitem__)
    how = f"in {least} slabs; whole {needed[1]:.3g}" if least > 1 else "whole, which takes no more than slabs"
    if why := frozen.config.sees_whole_images:
        how = f"whole: {why} looks at whole images"
    raise InputError("config", "codec.memory_gib", gib, f"{_up(needed[least]):g} or more, {how}")


def _up(gib: float) -> float:
    """Rounded up to three digits, so that what is said to fit does."""
    digit = 10.0 ** (math.floor(math.log10(gib)) - 2)
    return math.ceil(gib / digit) * digit


def open_autoencoder(settings: CodecSettings) -> AutoencoderModel:
    """The model of codec.autoencoder; refuses a run of another kind, and weights that are not those of the codec."""
    if not settings.autoencoder:
        raise InputError("config", "codec.autoencoder", "nothing", "a run folder of kind autoencoder")
    model = open_run(settings.autoencoder)
    if model.kind != "autoencoder":
        raise InputError("config", "codec.autoencoder", f"a run of kind {model.kind}", "a run of kind autoencoder")
    if settings.weights and settings.weights != model.version:
        expected = f"{settings.weights}, the weights of the codec"
        raise InputError(settings.autoencoder, "weights", model.version, expected)
    return cast(AutoencoderModel, model)


def scale_of(model: AutoencoderModel, scale: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """(mean, std) of each channel that latents are scaled with; see `CodecSettings`."""
    count = model.latent_channels
    if scale == "none":
        return (0.0,) * count, (1.0,) * count
    measured = model.latent_scale
    mean, std = (np.asarray(v, np.float64) for v in (measured.mean, measured.std))
    if scale == "channel":
        return tuple(map(_short, mean)), tuple(map(_short, std))
    whole = np.sqrt(np.mean(std**2 + mean**2) - np.mean(mean) ** 2)
    return (0.0,) * count, (_short(whole),) * count


def _short(value: float) -> float:
    return float(f"{value:.7g}")


def codec_state(settings: CodecSettings, params: Params) -> dict[str, Any]:
    """The collection CODEC of a codec and the parameters of its autoencoder."""
    scale = {name: jnp.asarray(getattr(settings, name), jnp.float32) for name in ("mean", "std")}
    return {"autoencoder": jax.tree.map(jnp.asarray, params), **scale}


def cached_latents(settings: CodecSettings, shards: str, progress: Callable[[int, int], None] | None = None) -> Path:
    """The shards whose images are posteriors [*latent, 2 z] of those in `shards`, mean before log variance.

    They are made where they are not there yet. Refuses, by the name of what differs, a cache of another autoencoder,
    of another scale or of other data.
    """
    data = Contract.load(shards)
    record = {**settings.identity, "data": data.fingerprint}
    name = hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()[:16]
    folder = Path(settings.cache) if settings.cache else Path(settings.autoencoder) / "latents" / name
    if (folder / MANIFEST).is_file():
        found = files.read_json(folder / CODEC_FILE, "codec of a latent cache")
        other = [key for key in record if found.get(key) != record[key]]
        if other:
            told = ", ".join(f"{key} {found.get(key)!r}" for key in other)
            expected = ", ".join(f"{key} {record[key]!r}" for key in other) + "; or another codec.cache"
            raise InputError(folder / CODEC_FILE, "codec", told, expected)
        return folder
    model = open_autoencoder(settings)

    def change(images: np.ndarray) -> np.ndarray:
        return np.concatenate(model.moments(to_unit(images)), axis=-1)

    shape = model.latent_shape
    contract = replace(
        data,
        image_size=shape[:-1],
        channels=2 * shape[-1],
        stored_dtype="float32",
        fingerprint=f"{data.fingerprint} codec:{name}",
    )
    return rewrite_shards(shards, folder, contract, change, beside={CODEC_FILE: record}, progress=progress)
