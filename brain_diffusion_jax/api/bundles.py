"""A MONAI bundle of latent diffusion to two run folders: its autoencoder, and the model on its latents."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from brain_diffusion_jax import config as configs
from brain_diffusion_jax import files
from brain_diffusion_jax.contract import Contract, Intensity
from brain_diffusion_jax.conversion import monai_bundle
from brain_diffusion_jax.covariates import Continuous, Schema
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.tasks.opening import open_run
from brain_diffusion_jax.training.run_folder import checkpoints

AUTOENCODER, LATENT = "autoencoder", "latent_diffusion"


def import_bundle(
    folder: Path,
    out: Path,
    *,
    latent_scale: float | None = None,
    contract: Path | None = None,
    size: tuple[int, ...] | None = None,
) -> list[str]:
    """Write out/autoencoder and out/latent_diffusion; returns what was found and assumed, a line each.

    contract: shards or a run whose data contract holds; without it conditions are fractions, by the names in
    configs/metadata.json, and images have its spatial_shape or `size`. Raises InputError where networks do not fit
    each other, or the bundle does not tell something.
    """
    files.require_new_folder(out, "--out")
    bundle = monai_bundle.read_bundle(folder, latent_scale)
    path = folder / "configs" / "metadata.json"
    told = _format(files.read_json(path, "metadata of a bundle") if path.is_file() else {})
    ae, model = bundle.autoencoder, bundle.unet.model
    if ae.out_channels != ae.in_channels:
        raise InputError(folder, "autoencoder", f"{ae.in_channels} to {ae.out_channels} channels", "as many out as in")
    known = Contract.load(contract) if contract else _contract(folder, bundle, told, size)
    planes = model["in_channels"] - ae.config.latent_channels
    count = len(known.schema.names)
    if planes not in (0, count) or model["context_dim"] not in (None, count):
        found = f"{planes} planes and a context of {model['context_dim']}"
        raise InputError(folder, "conditions", found, f"{count} of {', '.join(known.schema.names)}, or none")
    range_ = tuple(float(v) for v in told.get("value_range", (0.0, 1.0)))
    section = {**asdict(ae.config), "data_range": range_}

    with files.replacing_folder(out) as part:
        config = configs.kind_config(configs.base_config(AUTOENCODER), AUTOENCODER)
        with config.unlocked(), config.ignore_type():
            config.name = AUTOENCODER
            config.autoencoder.update(section)
        checkpoints.write_run(part / AUTOENCODER, AUTOENCODER, {"generator": ae.params}, configs.to_json(config), known)
        scale = {
            "mean": (0.0,) * ae.config.latent_channels,
            "std": (1.0 / bundle.latent_scale,) * ae.config.latent_channels,
        }
        config = configs.kind_config(configs.base_config(LATENT), LATENT)
        with config.unlocked(), config.ignore_type():
            config.name = LATENT
            config.autoencoder.update(section)
            config.model.update(model)
            mode = "none" if not planes and model["context_dim"] is None else "scaled"
            config.conditioning.update(mode=mode, planes=planes > 0)
            config.diffusion.update(bundle.diffusion)
            config.codec.update(
                autoencoder=str(out / AUTOENCODER),
                scale="single",
                weights=open_run(part / AUTOENCODER).version,
                image_size=tuple(known.image_size),
                **scale,
            )
            config.sample.update(sampler="ddim", num_steps=50, spacing="leading", guidance_scale=1.0)
        codec = {"autoencoder": ae.params, **{k: np.asarray(v, np.float32) for k, v in scale.items()}}
        items = configs.to_json(config)
        checkpoints.write_run(part / LATENT, LATENT, {"unet": bundle.unet.params}, items, known, {"codec": codec})
    lines = [*bundle.notes, f"intensities {range_[0]:g} to {range_[1]:g}"]
    if not contract:
        lines.append(f"assumed: {', '.join(known.schema.names)} are fractions from 0 to 1 (else: --contract)")
    return [*lines, f"written: {out / AUTOENCODER}", f"written: {out / LATENT}"]


def _format(metadata: dict[str, Any]) -> dict[str, Any]:
    """spatial_shape and value_range of the first output, and names of the first input's channels."""
    given = metadata.get("network_data_format", {})
    first: dict[str, Any] = {side: next(iter(given.get(side, {}).values()), {}) for side in ("inputs", "outputs")}
    return {**first["outputs"], "conditions": list(first["inputs"].get("channel_def", {}).values())}


def _contract(
    folder: Path, bundle: monai_bundle.Bundle, told: dict[str, Any], size: tuple[int, ...] | None
) -> Contract:
    dims, width = bundle.autoencoder.spatial_dims, bundle.unet.model["context_dim"]
    shape = tuple(size or told.get("spatial_shape", ()))
    if len(shape) != dims:
        raise InputError(folder, "spatial_shape", shape or "nothing", f"{dims} numbers (--size gives them)")
    planes = bundle.unet.model["in_channels"] - bundle.autoencoder.config.latent_channels
    names = [str(name).strip().lower().replace(" ", "_") for name in told["conditions"]]
    count = planes or width or 0
    if len(names) != count:
        names = [f"condition_{i}" for i in range(count)]
    schema = Schema(tuple(Continuous(name, "fraction", 0.0, 1.0) for name in names))
    low, high = (float(v) for v in told.get("value_range", (0.0, 1.0)))
    return Contract(
        schema,
        tuple(int(n) for n in shape),
        kind="volumes" if dims == 3 else "pictures",
        channels=bundle.autoencoder.in_channels,
        intensity=Intensity("fixed", low, high, "float32"),
        stored_dtype="float32",
        source=f"MONAI bundle {folder.name}",
    )
