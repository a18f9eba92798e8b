"""Synthetic pictures for given conditions: PNG, NIfTI slices in world space, a manifest, a grid.

brain-diffusion sample runs/NAME --set age=70 sex=F slice=45 --out pictures/
"""

from __future__ import annotations

import argparse

from brain_diffusion_jax.cli import conditions


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", help="run folder of a diffusion model")
    conditions.add_arguments(parser)
    add_output_arguments(parser)
    parser.add_argument("--sampler", help="default: the config's")
    parser.add_argument("--steps", type=int, help="sampling steps (default: the config's)")
    parser.add_argument("--eta", type=float, help="0 deterministic, 1 ancestral, for samplers that have it")
    parser.add_argument("--spacing", help="how steps are spread over the schedule (default: the config's)")
    parser.add_argument("--seed", type=int, default=0, help="same seed, same pictures (default 0)")
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
    parser.add_argument("--resume", action="store_true", help="go on with an interrupted folder")
    parser.add_argument("--json", action="store_true", help="print a JSON summary")


def load_diffusion(arguments: argparse.Namespace):
    """The diffusion model of `arguments.run`; refuses a run of another kind."""
    from brain_diffusion_jax import api
    from brain_diffusion_jax.errors import InputError

    model = api.load(arguments.run, step=arguments.checkpoint, ema=not arguments.no_ema)
    if not isinstance(model, api.DiffusionModel):
        raise InputError(arguments.run, "kind", model.kind, "diffusion")
    return model


def sampling_settings(arguments: argparse.Namespace, config) -> dict:
    """The arguments of `DiffusionModel.cells`, defaults from the run's config."""
    from brain_diffusion_jax.diffusion import samplers

    sampler = arguments.sampler or config.sampler
    eta = arguments.eta
    if eta is None and "eta" in samplers.knobs_of(sampler):
        eta = config.eta
    return {
        "sampler": sampler,
        "num_steps": config.num_steps if arguments.steps is None else arguments.steps,
        "spacing": arguments.spacing or config.spacing,
        "eta": eta,
        "seed": arguments.seed,
    }


def run(arguments: argparse.Namespace) -> int:
    import json

    import numpy as np
    from tqdm import tqdm

    from brain_diffusion_jax.data import picture_grid
    from brain_diffusion_jax.data.sample_folder import SampleFolder, read_pictures

    model = load_diffusion(arguments)
    if arguments.stack:
        from brain_diffusion_jax.cli import sample_stack

        return sample_stack.run(arguments, model)
    wanted = conditions.from_arguments(arguments, model.schema)
    scale = model.config.sample.guidance_scale if arguments.guidance is None else arguments.guidance
    settings = sampling_settings(arguments, model.config.sample)
    record = {"run": str(model.path), "guidance_scale": scale, "conditions": wanted, **settings}
    cells = model.cells([scale], **settings)
    folder = SampleFolder(arguments.out, record, model.contract, resume=arguments.resume)
    with tqdm(total=len(wanted), initial=folder.done, unit="picture", disable=None) as bar:
        for first, pictures in model.sample_cells(wanted, cells, batch_size=arguments.batch, start=folder.done):
            chosen = wanted[first : first + pictures.shape[1]]
            folder.write(
                first,
                pictures[0],
                chosen,
                seed=arguments.seed,
                guidance_scale=scale,
                columns=model.schema.names,
                nifti=not arguments.no_nifti,
            )
            bar.update(len(chosen))
    shown, _ = read_pictures(folder.path)
    picture_grid.save_png(
        folder.path / "grid.png", picture_grid.tile(np.asarray(shown[:64, ..., 0]), min(8, len(shown)))
    )
    summary = {"out": str(folder.path), "pictures": folder.done, "manifest": str(folder.path / "manifest.csv")}
    print(
        json.dumps(summary) if arguments.json else f"{folder.done} pictures in {folder.path} (grid.png, manifest.csv)"
    )
    return 0
