"""Publish a run as one .safetensors file with its model card, or open such a file as a run folder.

  brain-diffusion convert safetensors runs/mine --out mine.safetensors    (and mine.md, the model card)
  brain-diffusion convert safetensors mine.safetensors --out runs/mine

Config and data contract travel in the file's metadata. The card takes its numbers from the run's
metrics.jsonl and study/study.json.
"""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", type=Path, metavar="RUN|FILE", help="run folder, or a .safetensors file")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE|RUN", help="what to write (new)")
    parser.add_argument("--checkpoint", type=int, help="step to publish (default: the newest)")
    parser.add_argument("--no-ema", action="store_true", help="the raw parameters instead of the averaged ones")
    parser.add_argument("--card", type=Path, help="where the model card goes (default: beside the file, .md)")


def run(arguments: argparse.Namespace) -> int:
    from brain_diffusion_jax.errors import InputError

    out = arguments.out
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(out, "--out", "already there", "a new file or folder")
    if arguments.source.is_dir():
        card = publish(arguments.source, out, arguments.checkpoint, not arguments.no_ema, arguments.card)
        print(f"written: {out}\nwritten: {card}")
    else:
        unpack(arguments.source, out)
        print(f"written: {out}")
    return 0


def publish(run_folder: Path, out: Path, step: int | None = None, ema: bool = True, card: Path | None = None) -> Path:
    """Write a run as one file and its model card; returns the card's path."""
    import jax
    import numpy as np

    from brain_diffusion_jax import files
    from brain_diffusion_jax.config import from_json, to_json
    from brain_diffusion_jax.conversion import safetensors_file
    from brain_diffusion_jax.tasks.model_card import model_card
    from brain_diffusion_jax.training.run_folder import checkpoints
    from brain_diffusion_jax.training.run_folder.metrics import read_jsonl

    items = checkpoints.read_config(run_folder)
    kind = str(items.setdefault("kind", "diffusion"))
    config = to_json(from_json(items, run_folder / checkpoints.CONFIG))
    contract = checkpoints.read_contract(run_folder)
    _, params, state = checkpoints.load_weights(run_folder, step, ema)
    study = run_folder / "study" / "study.json"
    text = model_card(
        str(config.get("name") or run_folder.name),
        kind,
        config,
        contract,
        parameters=sum(int(np.size(leaf)) for leaf in jax.tree.leaves(params)),
        history=read_jsonl(run_folder, step),
        study=files.read_json(study, "study") if study.exists() else None,
        example=out.name,
    )
    card = card or out.with_suffix(".md")
    safetensors_file.write(out, safetensors_file.PublishedRun(kind, config, contract, params, state))
    files.write_text(card, text)
    return card


def unpack(file: Path, out: Path) -> None:
    """Write the run in a published file as run folder `out`, whole or not at all."""
    from brain_diffusion_jax.conversion import safetensors_file
    from brain_diffusion_jax.training.run_folder.checkpoints import write_whole_run

    found = safetensors_file.read(file)
    write_whole_run(out, found.kind, found.params, found.config, found.contract, found.model_state)
