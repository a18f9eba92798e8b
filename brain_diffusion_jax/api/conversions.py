"""Weights of other libraries to run folders, and run folders to files that others read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from brain_diffusion_jax import config as configs
from brain_diffusion_jax import files
from brain_diffusion_jax.contract import Contract
from brain_diffusion_jax.conversion import keras_convert, monai, safetensors_file, torch_files
from brain_diffusion_jax.conversion import verify as verification
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.models import factory
from brain_diffusion_jax.tasks.model_card import model_card
from brain_diffusion_jax.training.run_folder import checkpoints
from brain_diffusion_jax.training.run_folder.metrics import read_jsonl


def convert_keras(file: str | Path, out: str | Path) -> keras_convert.Converted:
    """Write a Keras age regressor as run folder `out`, without a contract; returns what the file holds."""
    out = Path(out)
    files.require_new_folder(out, "--out")
    converted = keras_convert.convert(file)
    config = configs.kind_config(configs.base_config("age"), "age")
    config.name = out.name
    with config.unlocked(), config.ignore_type():
        config.age_model.update(converted.age_model)
    items = {**configs.to_json(config), "source": converted.source, "preparation": "deepbrainnet"}
    # The published files predict years of people of any age: no standardisation on top.
    state = {k: v for k, v in converted.variables.items() if k != "params"}
    checkpoints.write_whole_run(out, "age", converted.variables["params"], items, None, model_state=state)
    return converted


class Weights(NamedTuple):
    """A weights file. prefix: the part of its keys to take; inside: which state dict, of a file that holds several."""

    path: Path
    prefix: str | None = None
    inside: str | None = None


@dataclass(frozen=True)
class Architecture:
    """What the shapes of MONAI's network do not tell; None: what the config says, else MONAI's default."""

    num_head_channels: tuple[int, ...] | None = None
    norm_num_groups: int | None = None
    norm_eps: float | None = None
    upcast_attention: bool = False


class Conversion(NamedTuple):
    """What was converted, as JSON values and as lines. written: False where the comparison found a difference."""

    summary: dict[str, Any]
    lines: list[str]
    compared: verification.Comparison | None = None
    written: bool = True


def import_monai(
    weights: Weights,
    out: Path,
    architecture: Architecture = Architecture(),
    *,
    config: Path | None = None,
    contract: Path | None = None,
    verify: bool = False,
    size: tuple[int, ...] | None = None,
) -> Conversion:
    """Write MONAI's DiffusionModelUNet as run folder `out`, whole or not at all.

    config: a file that says what the network was trained on; without it only the raw network can be called.
    contract: shards or a run whose data contract holds. verify: compare with MONAI's own network layer by layer, on
    inputs of that spatial size (None: small). Raises InputError where a tensor does not find its place.
    """
    files.require_new_folder(out, "--out")
    kept = Contract.load(contract) if contract else None
    found = configs.load_config(config) if config else None
    section = dict(found.model) if found else {}
    state, inside = torch_files.read_weights(*weights)
    converted = monai.from_monai(
        state,
        num_head_channels=architecture.num_head_channels or section.get("num_head_channels"),
        norm_num_groups=architecture.norm_num_groups or section.get("norm_num_groups"),
        norm_eps=section.get("norm_eps") if architecture.norm_eps is None else architecture.norm_eps,
        upcast_attention=architecture.upcast_attention or section.get("upcast_attention", False),
        dropout_cattn=section.get("dropout_cattn", 0.0),
        where=weights.path,
    )
    if config:
        _require_agreement(config, section, converted.model)
    compared = verification.compare(state, converted, size=size) if verify else None
    if compared and not compared.agrees:
        return _unwritten(compared)
    items, assumed = _run_config(found, converted.model, out.name)
    checkpoints.write_whole_run(out, "diffusion", {"unet": converted.params}, items, kept)
    notes = [*converted.assumed, *assumed]
    summary = {"out": str(out), "model": converted.model, "assumed": notes, "weights": inside}
    model = [f"{name}: {value}" for name, value in converted.model.items()]
    lines = [*([inside] if inside else []), *model, *(f"assumed: {note}" for note in notes), f"written: {out}"]
    return Conversion(summary, lines, compared)


def export_monai(
    run: Path,
    to: Path,
    *,
    names: str = "new",
    verify: bool = False,
    size: tuple[int, ...] | None = None,
    step: int | None = None,
    ema: bool = True,
) -> Conversion:
    """Write the network of a run as a MONAI state dict (.pt, .pth, .safetensors). names: new (MONAI >= 1.4) or old."""
    if to.exists():
        raise InputError(to, "--to", "already there", "a new file")
    config = checkpoints.read_config(run)
    if config.get("kind", "diffusion") != "diffusion":
        raise InputError(run, "kind", config["kind"], "diffusion")
    params = checkpoints.load_params(run, step=step, ema=ema)
    state = monai.to_monai(params["unet"], config["model"], names=names)
    heads = factory.unet(config["model"]).config.num_head_channels
    converted = monai.Converted(params["unet"], {**config["model"], "num_head_channels": heads})
    compared = verification.compare(state, converted, size=size) if verify else None
    if compared and not compared.agrees:
        return _unwritten(compared)
    torch_files.write_state(to, state)
    call = f"DiffusionModelUNet(**{monai.monai_arguments(config['model'])})"
    others = sorted(set(params) - {"unet"})
    left = f"left behind: {', '.join(others)} (MONAI has no learned tokens; its network takes them as context)"
    lines = [*([left] if others else []), call, f"written: {to}"]
    return Conversion({"to": str(to), "network": call, "left_behind": others}, lines, compared)


def _unwritten(compared: verification.Comparison) -> Conversion:
    return Conversion({"out": None}, ["nothing was written"], compared, written=False)


def _require_agreement(path: Path, section: Mapping[str, Any], model: Mapping[str, Any]) -> None:
    """Refuse a config whose section `model` is not the network of the file, but for precision and memory."""
    wanted = factory.unet(section)
    free = ("dtype", "remat")
    pairs = {k: (v, getattr(wanted.config, k)) for k, v in model.items() if k not in free}
    differing = [f"{k} {ours} against {theirs}" for k, (ours, theirs) in pairs.items() if ours != theirs]
    if differing:
        raise InputError(path, "model", "; ".join(differing), "the network in the file (file's value first)")


def _run_config(config: ConfigDict | None, model: dict[str, Any], name: str) -> tuple[dict[str, Any], list[str]]:
    """config.json of the run, and what had to be assumed for it."""
    if config is not None:
        items = configs.to_json(configs.kind_config(config, "diffusion"))
        keep = {k: items["model"][k] for k in ("dtype", "remat")}
        about = {k: v for k, v in configs.to_json(config).items() if k in ("covariates", "split")}
        return {**items, **about, "model": {**model, **keep}}, []
    base = configs.kind_config(configs.base_config("diffusion"), "diffusion")
    with base.unlocked(), base.ignore_type():
        base.name, base.covariates = name, ()
        base.model.update(model)
        base.conditioning.mode = "none" if model["context_dim"] is None else "external"
        base.diffusion.update(schedule="linear", prediction="eps", data_range=(0.0, 1.0))
    return configs.to_json(base), [
        "diffusion: linear schedule 1e-4 to 2e-2 over 1000 steps, predicts eps, intensities 0 to 1 (else: --config)",
        "conditions: unknown, so only the raw network can be called with a context (else: --config)",
    ]


def publish(
    run: Path,
    out: Path,
    *,
    step: int | None = None,
    ema: bool = True,
    card: Path | None = None,
    example: str | None = None,
    paths: bool = True,
) -> Path:
    """Write a run as one .safetensors file with its model card (default: beside the file); returns the card's path.

    example: what the card loads (default: the file). paths: False leaves of the paths in config, contract and study
    the last name alone; those before it belong to this machine and its owner.
    """
    items = checkpoints.read_config(run)
    kind = str(items.setdefault("kind", "diffusion"))
    config = configs.to_json(configs.from_json(items, run / checkpoints.CONFIG))
    contract = checkpoints.read_contract(run)
    if not paths:
        config = without_paths(config)
        contract = Contract.from_json(without_paths(contract.to_json()), run) if contract else None
    _, params, state = checkpoints.load_weights(run, step, ema)
    file = run / "study" / "study.json"
    study = files.read_json(file, "study") if file.exists() else None
    text = model_card(
        str(config.get("name") or run.name),
        kind,
        config,
        contract,
        parameters=sum(int(np.size(leaf)) for leaf in jax.tree.leaves(params)),
        history=read_jsonl(run, step),
        study=study if paths else without_paths(study),
        example=example or out.name,
    )
    card = card or out.with_suffix(".md")
    safetensors_file.write(out, safetensors_file.PublishedRun(kind, config, contract, params, state))
    files.write_text(card, text)
    return card


_PATH = re.compile(r"""(?<![^\s'"(=:,])(?:~|[A-Za-z]:)?[/\\][^\s'",;)]*""")


def without_paths(value: Any) -> Any:
    """JSON values in which every path from the root, the home or a drive is its last name."""
    if isinstance(value, str):
        whole = re.match(r"(~|[A-Za-z]:)?[/\\]", value)  # with spaces in it too
        return _last_name(value) if whole else _PATH.sub(lambda found: _last_name(found[0]), value)
    if isinstance(value, Mapping):
        return {key: without_paths(inner) for key, inner in value.items()}
    return [without_paths(inner) for inner in value] if isinstance(value, list | tuple) else value


def _last_name(path: str) -> str:
    return next((name for name in reversed(re.split(r"[/\\]", path)) if name), path)


def unpack(file: Path, out: Path) -> None:
    """Write the run in a published file as run folder `out`, whole or not at all."""
    found = safetensors_file.read(file)
    checkpoints.write_whole_run(out, found.kind, found.params, found.config, found.contract, found.model_state)
