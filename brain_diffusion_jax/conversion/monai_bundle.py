"""A MONAI bundle of latent diffusion, taken whole: its two networks, and what its configs say of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brain_diffusion_jax import files
from brain_diffusion_jax.conversion import monai, monai_autoencoder, torch_files
from brain_diffusion_jax.conversion.monai import Converted
from brain_diffusion_jax.conversion.monai_autoencoder import ConvertedAutoencoder
from brain_diffusion_jax.conversion.torch_files import State
from brain_diffusion_jax.errors import InputError

_SUFFIXES = (".pt", ".pth", ".ckpt", ".bin", ".safetensors")
# A key that only such a network has.
_LANDMARKS = {"autoencoder": "quant_conv_mu.conv.weight", "unet": "time_embed.0.weight"}
_TARGETS = {"autoencoder": "AutoencoderKL", "unet": "DiffusionModelUNet", "scheduler": "Scheduler"}
_NORMS = {"norm_num_groups": 32, "norm_eps": 1e-6}
_DEFAULTS: dict[str, dict[str, Any]] = {"autoencoder": _NORMS, "unet": {**_NORMS, "num_head_channels": 8}}
_SCHEDULES = {"linear_beta": "linear", "scaled_linear_beta": "scaled_linear", "cosine": "cosine"}
_PREDICTIONS = {"epsilon": "eps", "v_prediction": "v", "sample": "x0"}


@dataclass(frozen=True)
class Bundle:
    """autoencoder, unet: the networks. diffusion: settings of config section `diffusion`.

    latent_scale: the factor that latents are multiplied with before the UNet sees them. notes: what was taken from
    where, and what was assumed, a line each.
    """

    autoencoder: ConvertedAutoencoder
    unet: Converted
    diffusion: dict[str, Any]
    latent_scale: float
    notes: tuple[str, ...] = ()


def read_bundle(folder: str | Path, latent_scale: float | None = None) -> Bundle:
    """The networks and settings of a bundle folder with models/ and configs/*.json.

    latent_scale: in place of the configs' scale_factor, which may be an expression; 1 where neither is there.
    Raises InputError for a folder without either network, two files of the same network, and settings that are
    neither given nor MONAI's defaults; and as `monai.from_monai` and `monai_autoencoder.from_monai` do.
    """
    folder = Path(folder)
    states = _weights(folder)
    told, notes = _definitions(folder)
    # What a config leaves out is what MONAI builds; without a definition nothing is known.
    ae, unet = ({**_DEFAULTS[name], **told[name]} if name in told else {} for name in ("autoencoder", "unet"))
    (ae_file, ae_state), (unet_file, unet_state) = states["autoencoder"], states["unet"]
    autoencoder = monai_autoencoder.from_monai(
        ae_state, norm_num_groups=ae.get("norm_num_groups"), norm_eps=ae.get("norm_eps"), where=ae_file
    )
    heads = unet.get("num_head_channels")
    network = monai.from_monai(
        unet_state,
        num_head_channels=tuple(heads) if isinstance(heads, list) else heads,
        norm_num_groups=unet.get("norm_num_groups"),
        norm_eps=unet.get("norm_eps"),
        upcast_attention=bool(unet.get("upcast_attention", False)),
        dropout_cattn=float(unet.get("dropout_cattn", 0.0)),
        where=unet_file,
    )
    latent, out = autoencoder.config.latent_channels, network.model["out_channels"]
    if latent != out:
        raise InputError(folder, "networks", f"a UNet that gives {out} channels", f"{latent}, the autoencoder's latent")
    scale = told.get("scale_factor", {}).get("value") if latent_scale is None else latent_scale
    if scale is None:
        notes.append("latent scale 1: no scale_factor in the configs")
    elif isinstance(scale, bool) or not isinstance(scale, int | float) or not 0 < scale < float("inf"):
        raise InputError(folder / "configs", "scale_factor", scale, "a number above 0 (--latent-scale gives it)")
    else:
        notes.append(f"latent scale {scale}")
    settings = _diffusion(told.get("scheduler"), folder, notes)
    files_used = (f"autoencoder: {ae_file}", f"unet: {unet_file}")
    return Bundle(
        autoencoder,
        network,
        settings,
        1.0 if scale is None else float(scale),
        (*files_used, *notes, *(f"assumed: {line}" for line in (*autoencoder.assumed, *network.assumed))),
    )


def _weights(folder: Path) -> dict[str, tuple[Path, State]]:
    """(file, state dict) of each network, found by the keys inside."""
    paths = sorted(p for p in (folder / "models").glob("*") if p.suffix in _SUFFIXES)
    if not paths:
        raise InputError(folder, "models", "no weights", f"models/ with files of {', '.join(_SUFFIXES)}")
    found: dict[str, tuple[Path, State]] = {}
    for path in paths:
        state, _ = torch_files.read_weights(path)
        for name, landmark in _LANDMARKS.items():
            if landmark not in state:
                continue
            if name in found:
                both = f"{found[name][0].name} and {path.name}"
                raise InputError(folder / "models", name, both, f"one file with the {_TARGETS[name]}")
            found[name] = path, state
    for name, landmark in _LANDMARKS.items():
        if name not in found:
            files_there = ", ".join(path.name for path in paths)
            expected = f"a file with {landmark}, the {_TARGETS[name]}"
            raise InputError(folder / "models", name, f"{files_there} without it", expected)
    return found


def _definitions(folder: Path) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """The plain settings of networks, scheduler and scale_factor of all configs, inference.json first."""
    paths = sorted((folder / "configs").glob("*.json"), key=lambda p: (p.name != "inference.json", p.name))
    told: dict[str, dict[str, Any]] = {}
    notes = []
    for path in paths:
        content = files.read_json(path, "config of a bundle")
        for key, value in content.items() if isinstance(content, Mapping) else ():
            if key == "scale_factor" and key not in told:
                told[key] = {"value": _plain(value, content, path, key)}
            target = str(value.get("_target_", "")) if isinstance(value, Mapping) else ""
            name = next((name for name, end in _TARGETS.items() if target.endswith(end)), None)
            if name and name not in told:
                told[name] = {k: _plain(v, content, path, f"{key}.{k}") for k, v in value.items() if k[0] != "_"}
                told[name]["_target_"] = target
                notes.append(f"settings of the {name}: {path.name}, {key}")
    return told, notes


def _plain(value: Any, content: Mapping[str, Any], path: Path, key: str) -> Any:
    """A value of a config; "@name" is looked up. An expression, which would have to be executed, is refused."""
    seen: list[str] = []
    while isinstance(value, str) and value.startswith("@"):
        name = value[1:]
        if name in seen or name not in content:
            raise InputError(path, key, value, "a reference to a key of this file")
        seen.append(name)
        value = content[name]
    if isinstance(value, str) and value.startswith("$") and key != "scale_factor":
        raise InputError(path, key, value, "a plain value: expressions are not executed")
    return value


def _diffusion(scheduler: dict[str, Any] | None, folder: Path, notes: list[str]) -> dict[str, Any]:
    """Config section `diffusion` of a MONAI scheduler."""
    if scheduler is None:
        raise InputError(folder / "configs", "scheduler", "no _target_ that ends in Scheduler", "DDPM or DDIM")
    schedule, kind = scheduler.get("schedule", "linear_beta"), scheduler.get("prediction_type", "epsilon")
    for key, value, known in (("schedule", schedule, _SCHEDULES), ("prediction_type", kind, _PREDICTIONS)):
        if value not in known:
            raise InputError(folder / "configs", f"scheduler.{key}", value, f"one of {', '.join(known)}")
    if "DDIM" in scheduler["_target_"]:
        notes.append("sample with sampler=ddim eta=0 spacing=leading (GenerativeModels) or spacing=monai (MONAI 1.4)")
    clips = bool(scheduler.get("clip_sample", True))
    if clips:
        low, high = (float(scheduler.get(f"clip_sample_{end}", v)) for end, v in (("min", -1.0), ("max", 1.0)))
    return {
        "schedule": _SCHEDULES[schedule],
        "num_train_steps": int(scheduler.get("num_train_timesteps", 1000)),
        "beta_start": float(scheduler.get("beta_start", 1e-4)),
        "beta_end": float(scheduler.get("beta_end", 2e-2)),
        "prediction": _PREDICTIONS[kind],
        "clip_x0": clips,
        "clip_range": (low, high) if clips else None,
        "clip_keeps_eps": "DDIM" in scheduler["_target_"],
    }
