"""MONAI's DiffusionModelUNet to a run folder, and a run folder back to a MONAI state dict.

  brain-diffusion convert monai unet.pth --out runs/unet --head-channels 0,0,512 --norm-groups 32 --verify
  brain-diffusion convert monai unet.pth --out runs/reference --config configs/camcan/reference.py
  brain-diffusion convert monai runs/mine --to unet.pth --names old

Reads .pt and .pth (bare, or under model_state_dict, unet_state_dict, state_dict, model or ema_state_dict, the
first that is there; --inside picks another; tensors only, nothing in the file is executed) and .safetensors,
with the names of MONAI >= 1.4 or of GenerativeModels. Shapes tell
most of the architecture; head channels and norm groups come from the options or from --config.
--config also gives the meaning of the condition and the noise schedule, --contract the data contract;
without them only the raw network can be called. Every tensor must find its place, or nothing is written.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", type=Path, metavar="IN", help="weights file; or a run folder, with --to")
    parser.add_argument("--out", type=Path, metavar="RUN", help="run folder to write (new)")
    parser.add_argument("--to", type=Path, metavar="FILE", help="write a MONAI state dict (.pt, .pth, .safetensors)")
    parser.add_argument("--names", default="new", help="with --to: new (MONAI >= 1.4, default) or old")
    parser.add_argument("--head-channels", type=_numbers, metavar="N,N,..", help="num_head_channels of every level")
    parser.add_argument("--norm-groups", type=int, help="norm_num_groups (MONAI's default is 32)")
    parser.add_argument("--norm-eps", type=float, help="default 1e-6, as in MONAI")
    parser.add_argument("--upcast-attention", action="store_true", help="attention in float32 under a 16-bit dtype")
    parser.add_argument("--prefix", help="the part of the file's keys to take, such as unet.")
    parser.add_argument("--inside", metavar="KEY", help="the state dict of a checkpoint to take, if it holds several")
    parser.add_argument("--config", type=Path, help="configs/NAME.py that says what the network was trained on")
    parser.add_argument("--contract", type=Path, metavar="FOLDER", help="shards or run whose data contract holds")
    parser.add_argument("--verify", action="store_true", help="compare with MONAI layer by layer (torch, monai)")
    parser.add_argument("--size", type=_numbers, metavar="N,N", help="with --verify: spatial size (default: small)")
    parser.add_argument("--checkpoint", type=int, help="with --to: step (default: the newest)")
    parser.add_argument("--no-ema", action="store_true", help="with --to: not the averaged parameters")
    parser.add_argument("--json", action="store_true", help="print what was found as JSON")


def run(arguments: argparse.Namespace) -> int:
    from brain_diffusion_jax import files
    from brain_diffusion_jax.errors import InputError

    folder = arguments.source.is_dir()
    if folder and arguments.to and not arguments.out:
        return _export(arguments)
    if folder or not arguments.out:
        raise InputError("command line", "IN", arguments.source, "a weights file with --out, or a run folder with --to")
    files.require_new_folder(arguments.out, "--out")
    return _import(arguments)


def _import(arguments: argparse.Namespace) -> int:
    import json

    from brain_diffusion_jax import config as configs
    from brain_diffusion_jax.contract import Contract
    from brain_diffusion_jax.conversion import monai, torch_files
    from brain_diffusion_jax.training.run_folder.checkpoints import write_whole_run

    contract = Contract.load(arguments.contract) if arguments.contract else None
    config = configs.load_config(arguments.config) if arguments.config else None
    told = dict(config.model) if config else {}
    state, which = torch_files.read_weights(arguments.source, arguments.prefix, arguments.inside)
    converted = monai.from_monai(
        state,
        num_head_channels=arguments.head_channels or told.get("num_head_channels"),
        norm_num_groups=arguments.norm_groups or told.get("norm_num_groups"),
        norm_eps=told.get("norm_eps") if arguments.norm_eps is None else arguments.norm_eps,
        upcast_attention=arguments.upcast_attention or told.get("upcast_attention", False),
        dropout_cattn=told.get("dropout_cattn", 0.0),
        where=arguments.source,
    )
    if config:
        _require_agreement(arguments.config, told, converted.model)
    compared = _compare(state, converted, arguments) if arguments.verify else None
    if compared and not compared.agrees:
        return _disagreement(compared, arguments)
    items, assumed = _run_config(config, converted, arguments.out.name)
    write_whole_run(arguments.out, "diffusion", {"unet": converted.params}, items, contract)
    notes = [*converted.assumed, *assumed]
    if arguments.json:
        found = {"out": str(arguments.out), "model": converted.model, "assumed": notes, "weights": which}
        print(json.dumps({**found, "verify": compared and compared.to_json()}))
    else:
        lines = [str(compared)] if compared else []
        lines += [which] if which else []
        lines += [*(f"{k}: {v}" for k, v in converted.model.items()), *(f"assumed: {n}" for n in notes)]
        print("\n".join([*lines, f"written: {arguments.out}"]))
    return 0


def _require_agreement(path: Path, told: dict[str, Any], found: dict[str, Any]) -> None:
    """Refuse a config whose network is not the one in the file; precision and memory are its own affair."""
    from brain_diffusion_jax.errors import InputError
    from brain_diffusion_jax.models import factory

    wanted = factory.unet(told)
    free = ("dtype", "remat")
    pairs = {k: (v, getattr(wanted.config, k)) for k, v in found.items() if k not in free}
    differing = [f"{k} {ours} against {theirs}" for k, (ours, theirs) in pairs.items() if ours != theirs]
    if differing:
        raise InputError(path, "model", "; ".join(differing), "the network in the file (file's value first)")


def _run_config(config: Any, converted: Any, name: str) -> tuple[dict[str, Any], list[str]]:
    """config.json of the run, and what had to be assumed for it."""
    from brain_diffusion_jax import config as configs

    if config is not None:
        items = configs.to_json(configs.kind_config(config, "diffusion"))
        keep = {k: items["model"][k] for k in ("dtype", "remat")}
        about = {k: v for k, v in configs.to_json(config).items() if k in ("covariates", "split")}
        return {**items, **about, "model": {**converted.model, **keep}}, []
    base = configs.kind_config(configs.base_config("diffusion"), "diffusion")
    with base.unlocked(), base.ignore_type():
        base.name, base.covariates = name, ()
        base.model.update(converted.model)
        base.conditioning.mode = "none" if converted.model["context_dim"] is None else "external"
        base.diffusion.update(schedule="linear", prediction="eps", data_range=(0.0, 1.0))
    return configs.to_json(base), [
        "diffusion: linear schedule 1e-4 to 2e-2 over 1000 steps, predicts eps, intensities 0 to 1 (else: --config)",
        "conditions: unknown, so only the raw network can be called with a context (else: --config)",
    ]


def _compare(state: Any, converted: Any, arguments: argparse.Namespace) -> Any:
    """verify.Comparison with MONAI's own network. Refuses where torch or MONAI is missing."""
    from brain_diffusion_jax.conversion import verify

    return verify.compare(state, converted, size=arguments.size)


def _disagreement(compared: Any, arguments: argparse.Namespace) -> int:
    import json

    print(
        json.dumps({"out": None, "verify": compared.to_json()})
        if arguments.json
        else f"{compared}\nnothing was written"
    )
    return 1


def _export(arguments: argparse.Namespace) -> int:
    import json

    from brain_diffusion_jax.conversion import monai, torch_files
    from brain_diffusion_jax.errors import InputError
    from brain_diffusion_jax.models import factory
    from brain_diffusion_jax.training.run_folder import checkpoints

    if arguments.to.exists():
        raise InputError(arguments.to, "--to", "already there", "a new file")
    config = checkpoints.read_config(arguments.source)
    if config.get("kind", "diffusion") != "diffusion":
        raise InputError(arguments.source, "kind", config["kind"], "diffusion")
    params = checkpoints.load_params(arguments.source, step=arguments.checkpoint, ema=not arguments.no_ema)
    others = sorted(set(params) - {"unet"})
    state = monai.to_monai(params["unet"], config["model"], names=arguments.names)
    compared = None
    if arguments.verify:
        network = factory.unet(config["model"])
        model = {**config["model"], "num_head_channels": network.config.num_head_channels}
        compared = _compare(state, monai.Converted(params["unet"], model), arguments)
        if not compared.agrees:
            return _disagreement(compared, arguments)
    torch_files.write_state(arguments.to, state)
    call = f"DiffusionModelUNet(**{monai.monai_arguments(config['model'])})"
    if arguments.json:
        found = {"to": str(arguments.to), "network": call, "left_behind": others}
        print(json.dumps({**found, "verify": compared and compared.to_json()}))
        return 0
    if compared:
        print(compared)
    if others:
        print(f"left behind: {', '.join(others)} (MONAI has no learned tokens; its network takes them as context)")
    print(f"{call}\nwritten: {arguments.to}")
    return 0
