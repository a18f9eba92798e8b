"""Synthetic pictures for given conditions: PNG, NIfTI slices in world space, a manifest, a grid.

brain-diffusion sample runs/NAME --set age=70 sex=F slice=45 --out pictures/
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from brain_diffusion_jax import seeds
from brain_diffusion_jax.cli import conditions


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", help="run folder of a diffusion model or a WGAN-GP")
    conditions.add_arguments(parser)
    add_output_arguments(parser)
    parser.add_argument(
        "--people", metavar="SPLIT", help="ask for what the real pictures of this split show, e.g. test"
    )
    parser.add_argument("--data", help="with --people, the shards (default: those of the run)")
    parser.add_argument("--sampler", help="default: the config's")
    parser.add_argument("--steps", type=int, help="sampling steps (default: the config's)")
    parser.add_argument("--eta", type=float, help="0 deterministic, 1 ancestral, for samplers that have it")
    parser.add_argument("--spacing", help="how steps are spread over the schedule (default: the config's)")
    parser.add_argument("--seed", type=seeds.seed, default=0, help="same seed, same pictures (default 0)")
    parser.add_argument("--guidance", type=float, help="guidance scale; 1 is off, 0 unconditional (default: config)")
    parser.add_argument("--no-nifti", action="store_true", help="PNG only")
    parser.add_argument("--stack", action="store_true", help="whole volumes: all slices of a head sampled together")
    parser.add_argument(
        "--slices", metavar="FROM:TO", help="with --stack, both included (default: the contract's range)"
    )
    parser.add_argument("--overlap", type=float, default=0.3, help="with --stack, pull between neighbours; 0 is off")


def add_output_arguments(parser: argparse.ArgumentParser) -> None:
    """What `sample` and `sweep` share."""
    parser.add_argument("--out", required=True, help="folder to write (new, or --resume)")
    parser.add_argument("--batch", type=int, help="pictures at once (default: the config's)")
    parser.add_argument("--checkpoint", type=int, help="step to load (default: the newest)")
    parser.add_argument("--no-ema", action="store_true", help="the raw parameters instead of the averaged ones")
    parser.add_argument(
        "--resume", action="store_true", help="go on with an interrupted folder, if weights and settings are the same"
    )
    parser.add_argument("--json", action="store_true", help="print a JSON summary")


def load_diffusion(arguments: argparse.Namespace):
    """The diffusion model of `arguments.run`; refuses a run of another kind."""
    from brain_diffusion_jax import api
    from brain_diffusion_jax.errors import InputError
    from brain_diffusion_jax.training.devices import host

    host.prepare()
    model = api.load(arguments.run, step=arguments.checkpoint, ema=not arguments.no_ema)
    if not isinstance(model, api.DiffusionModel):
        raise InputError(arguments.run, "kind", model.kind, "diffusion: nothing else has samplers, steps and guidance")
    return model


def load_generator(folder: str | Path, *, step: int | None = None, ema: bool = True) -> Any:
    """The api.DiffusionModel or api.GanModel of a run folder; refuses one that makes no pictures."""
    from brain_diffusion_jax import api
    from brain_diffusion_jax.errors import InputError
    from brain_diffusion_jax.training.devices import host

    host.prepare()
    model = api.load(folder, step=step, ema=ema)
    if not isinstance(model, api.DiffusionModel | api.GanModel):
        raise InputError(folder, "kind", model.kind, "diffusion or gan: a model that makes pictures")
    return model


def refuse_diffusion_settings(arguments: argparse.Namespace, model: Any) -> None:
    """Raise InputError for options that were given but mean nothing to a model without steps."""
    from brain_diffusion_jax.errors import InputError

    for name in ("guidance", "steps", "sampler", "eta", "spacing", "scales", "stack"):
        given = getattr(arguments, name, None)
        if given not in (None, False):
            raise InputError(model.path, f"--{name}", given, f"not given: a {model.kind} makes a picture in one step")


def draw(model: Any, wanted: list[dict[str, Any]], *, guidance: float | None = None, seed: int = 0) -> Any:
    """Unit pictures [n, rows, cols, 1] of either kind of model, by the settings of its config."""
    if model.kind != "diffusion":
        return model.sample(wanted, seed=seed, guidance_scale=guidance)
    section = model.config.sample
    return model.sample(
        wanted,
        guidance_scale=section.guidance_scale if guidance is None else guidance,
        sampler=section.sampler,
        num_steps=section.num_steps,
        seed=seed,
    )


def weights_of(arguments: argparse.Namespace, model: Any) -> dict[str, Any]:
    """What a folder of pictures remembers of the model, so that no other one goes on with it."""
    made_by = {"run": str(model.path), "checkpoint": model.step, "ema": not arguments.no_ema}
    return made_by | {"weights": model.version}


def sampling_settings(arguments: argparse.Namespace, config) -> dict:
    """The arguments of `DiffusionModel.cells`, defaults from the run's config."""
    from brain_diffusion_jax.diffusion import samplers

    sampler = arguments.sampler or config.sampler
    eta = arguments.eta
    if eta is None and "eta" in samplers.options_of(sampler):
        eta = config.eta
    return {
        "sampler": sampler,
        "num_steps": config.num_steps if arguments.steps is None else arguments.steps,
        "spacing": arguments.spacing or config.spacing,
        "eta": eta,
        "seed": arguments.seed,
    }


def _conditions(arguments: argparse.Namespace, model: Any) -> list[dict[str, Any]]:
    """Those of the command line, or of the real pictures of --people (none for a model that takes none)."""
    from brain_diffusion_jax.cli.real_people import people_of
    from brain_diffusion_jax.errors import InputError

    if not arguments.people:
        if arguments.data:
            raise InputError("command line", "--data", "without --people", "--people SPLIT")
        return conditions.from_arguments(arguments, model.schema)
    if arguments.set or arguments.conditions:
        raise InputError("command line", "--people", "beside --set or --conditions", "one of them")
    found = people_of(model, arguments.data, arguments.people).conditions
    return [c if model.conditional else {} for c in found for _ in range(arguments.each)]


def run(arguments: argparse.Namespace) -> int:
    import json

    import numpy as np
    from tqdm import tqdm

    from brain_diffusion_jax.data import picture_grid
    from brain_diffusion_jax.data.sample_folder import SampleFolder, read_pictures, require_usable
    from brain_diffusion_jax.training.run_folder.stopping import lock

    require_usable(arguments.out, resume=arguments.resume)
    model = load_generator(arguments.run, step=arguments.checkpoint, ema=not arguments.no_ema)
    diffusion = model.kind == "diffusion"
    if not diffusion:
        refuse_diffusion_settings(arguments, model)
    if arguments.stack:
        from brain_diffusion_jax.cli import sample_stack

        return sample_stack.run(arguments, model)
    wanted = _conditions(arguments, model)
    record: dict[str, Any] = {**weights_of(arguments, model), "conditions": wanted, "seed": arguments.seed}
    scale, cells = None, []
    if diffusion:
        scale = model.config.sample.guidance_scale if arguments.guidance is None else arguments.guidance
        settings = sampling_settings(arguments, model.config.sample)
        record |= {"guidance_scale": scale, **settings}
        cells = model.cells([scale], **settings)
    options = {"batch_size": arguments.batch or model.config.sample.batch_size}

    def batches(start: int) -> Iterator[tuple[int, Any]]:
        if not diffusion:
            yield from model.batches(wanted, seed=arguments.seed, start=start, **options)
            return
        for first, pictures in model.sample_cells(wanted, cells, start=start, **options):
            yield first, pictures[0]

    with lock(arguments.out):
        folder = SampleFolder(arguments.out, record, model.contract, resume=arguments.resume)
        with tqdm(total=len(wanted), initial=folder.done, unit="picture", disable=None) as bar:
            for first, pictures in batches(folder.done):
                chosen = wanted[first : first + len(pictures)]
                folder.write(
                    first,
                    pictures,
                    chosen,
                    seed=arguments.seed,
                    guidance_scale=scale,
                    columns=model.schema.names,
                    nifti=not arguments.no_nifti,
                )
                bar.update(len(chosen))
        shown, _ = read_pictures(folder.path)
        sheet = picture_grid.tile(np.asarray(shown[:64, ..., 0]), min(8, len(shown)))
        picture_grid.save_png(folder.path / "grid.png", sheet)
    summary = {"out": str(folder.path), "pictures": folder.done, "manifest": str(folder.path / "manifest.csv")}
    print(
        json.dumps(summary) if arguments.json else f"{folder.done} pictures in {folder.path} (grid.png, manifest.csv)"
    )
    return 0
