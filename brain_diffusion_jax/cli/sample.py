"""Synthetic pictures for given conditions: PNG, NIfTI slices in world space, a manifest, a grid.

brain-diffusion sample runs/NAME --set age=70 sex=F slice=45 --out pictures/
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from brain_diffusion_jax.cli.options import (
    ConditionOptions,
    OutputOptions,
    SamplingOptions,
    bar_of,
    open_model,
    refuse_unguided,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", help="run folder of a diffusion model or a WGAN-GP")
    ConditionOptions.add(parser)
    OutputOptions.add(parser)
    parser.add_argument(
        "--people", metavar="SPLIT", help="ask for what the real pictures of this split show, e.g. test"
    )
    parser.add_argument("--data", help="with --people, the shards (default: those of the run)")
    SamplingOptions.add(parser)
    parser.add_argument("--no-nifti", action="store_true", help="PNG only")
    parser.add_argument("--stack", action="store_true", help="whole volumes: all slices of a head sampled together")
    parser.add_argument(
        "--slices", metavar="FROM:TO", help="with --stack, both included (default: the contract's range)"
    )
    parser.add_argument("--overlap", type=float, default=0.3, help="with --stack, pull between neighbours; 0 is off")


def _conditions(arguments: argparse.Namespace, model: Any) -> list[dict[str, Any]]:
    """Those of the command line, or of the real pictures of --people (none for a model that takes none)."""
    from brain_diffusion_jax.errors import InputError
    from brain_diffusion_jax.evaluation.study.real_people import people_of

    if not arguments.people:
        if arguments.data:
            raise InputError("command line", "--data", "without --people", "--people SPLIT")
        return ConditionOptions.of(arguments).read(model.schema)
    if arguments.set or arguments.conditions:
        raise InputError("command line", "--people", "beside --set or --conditions", "one of them")
    found = people_of(model, arguments.data, arguments.people).conditions
    return [dict(c) if model.conditional else {} for c in found for _ in range(arguments.each)]


def run(arguments: argparse.Namespace) -> int:
    import json

    from brain_diffusion_jax.api.samples import write_samples
    from brain_diffusion_jax.data.sample_folder import require_usable

    output = OutputOptions.of(arguments)
    require_usable(output.out, resume=output.resume)
    model = open_model(arguments.run, "generator", arguments)
    refuse_unguided(model, {"stack": arguments.stack})
    sampling = SamplingOptions.of(arguments).resolve(model)
    if arguments.stack:
        return _stack(arguments, model, sampling)
    wanted = _conditions(arguments, model)
    with bar_of("picture") as progress:
        folder = write_samples(
            model,
            wanted,
            sampling,
            output.out,
            seed=arguments.seed,
            ema=not output.no_ema,
            resume=output.resume,
            nifti=not arguments.no_nifti,
            progress=progress,
        )
    summary = {"out": str(folder.path), "pictures": folder.done, "manifest": str(folder.path / "manifest.csv")}
    print(json.dumps(summary) if output.json else f"{folder.done} pictures in {folder.path} (grid.png, manifest.csv)")
    return 0


def _stack(arguments: argparse.Namespace, model: Any, sampling: Any) -> int:
    import json

    from tqdm import tqdm

    from brain_diffusion_jax.api import volumes

    summary = volumes.write_volumes(
        model,
        ConditionOptions.of(arguments).read(model.schema),
        volumes.slice_range(model, arguments.slices),
        sampling,
        Path(arguments.out),
        seed=arguments.seed,
        overlap=arguments.overlap,
        progress=lambda items: tqdm(items, unit="volume", disable=None),
    )
    print(json.dumps(summary) if arguments.json else volumes.describe(summary, volumes.known_slices(model)[1]))
    return 0
