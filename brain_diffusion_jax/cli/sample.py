"""Synthetic images for given conditions: PNG, NIfTI slices in world space, a manifest, a grid.

  brain-diffusion sample runs/NAME --set age=70 sex=F slice=45
  brain-diffusion sample runs/NAME --set age=20,40,60,80 --each 4 --guidance 3 --seed 1 --out pictures/
  brain-diffusion sample runs/NAME --set age=30,70 slice=45 --bids --out dataset/

With --bids the folder is a BIDS derivative as well: each image is a participant, a slice a NIfTI of one slice at
its place in the world. Pictures without a place in a volume are refused.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brain_diffusion_jax.cli.options import ConditionOptions, ContrastOptions, SamplingOptions, decode_within
from brain_diffusion_jax.cli.parsing import argument, option
from brain_diffusion_jax.errors import InputError

if TYPE_CHECKING:
    from brain_diffusion_jax.api import Generator
    from brain_diffusion_jax.data.bids import Contrast


def _interval(text: str) -> tuple[int, int]:
    """(40, 60) of 40:60."""
    first, separator, last = text.partition(":")
    if not (separator and first.isdecimal() and last.isdecimal() and int(first) <= int(last)):
        raise argparse.ArgumentTypeError(f"found {text!r:.80}; expected FROM:TO, such as 40:60")
    return int(first), int(last)


class Options(ConditionOptions, SamplingOptions, ContrastOptions):
    """What is drawn, and what is written of it."""

    run: str = argument("run folder of a diffusion model or a GAN")
    people: str | None = option("make what the real images of this split show, e.g. test", metavar="SPLIT")
    data: str | None = option("with --people, the shards (default: those of the run)")
    no_nifti: bool = option("PNG only", False)
    bids: bool = option("a BIDS data set of the NIfTIs as well", False)
    stack: bool = option("whole volumes: all slices of a head sampled together", False)
    slices: tuple[int, int] | None = option(
        "with --stack, both included (default: the contract's range)", metavar="FROM:TO", type=_interval
    )
    overlap: float = option("with --stack, pull between neighbours; 0 is off (default 0.3)", 0.3)

    def default_out(self) -> Path:
        """Where images go without --out."""
        return Path(self.run) / "samples"


def next_step(options: Options) -> str:
    """Numbers for the images, beside the real ones of the run; of volumes, and without real ones, the explorer."""
    from brain_diffusion_jax.config import load_config

    own = Path(options.run) / "config.json"
    data = options.data or (load_config(own).get("data", {}).get("shards") if own.is_file() else None)
    if options.stack or not data or not Path(data).is_dir():
        return f"brain-diffusion explore {options.run}"
    return f"brain-diffusion evaluate {options.out} --data {data}"


def run(options: Options) -> int:
    """Write the images, or the volumes of --stack, and print where they are."""
    import json

    from brain_diffusion_jax.api import samples, volumes
    from brain_diffusion_jax.cli.progress import bar_of
    from brain_diffusion_jax.data.sample_folder import require_usable

    require_usable(options.out, resume=options.resume)
    contrast = _contrast(options)
    if options.stack:
        model = options.load(options.run, "diffusion")
        decode_within(model, options.memory_gib)
        wanted = options.read(model.schema)
        with bar_of("volume") as progress:
            summary = volumes.write_volumes(
                model,
                wanted,
                volumes.slice_range(model, options.slices),
                options.resolve(model),
                Path(options.out),
                seed=options.seed,
                overlap=options.overlap,
                contrast=contrast,
                ema=not options.no_ema,
                progress=progress,
            )
        text = volumes.describe(summary, volumes.known_slices(model)[1])
    else:
        generator = options.load(options.run, "generator")
        decode_within(generator, options.memory_gib)
        sampling = options.resolve(generator)
        with bar_of("image") as progress:
            folder = samples.write_samples(
                generator,
                _conditions(options, generator),
                sampling,
                options.out,
                seed=options.seed,
                ema=not options.no_ema,
                resume=options.resume,
                nifti=not options.no_nifti,
                contrast=contrast,
                progress=progress,
            )
        # The key is that of release 0.1.
        summary = {"out": str(folder.path), "pictures": folder.done, "manifest": str(folder.path / "manifest.csv")}
        text = f"{folder.done} images in {folder.path} (grid.png, manifest.csv)"
    print(json.dumps(summary) if options.json else text)
    return 0


def _contrast(options: Options) -> Contrast | None:
    """Of --bids; None without it."""
    if options.bids and options.no_nifti:
        raise InputError("command line", "--no-nifti", "with --bids", "one of them: BIDS knows NIfTI alone")
    for name, given in (("--suffix", options.suffix), ("--with-skull", options.with_skull)):
        if given and not options.bids:
            raise InputError("command line", name, "without --bids", "--bids")
    return options.contrast if options.bids else None


def _conditions(options: Options, model: Generator) -> list[dict[str, Any]]:
    """Those of the command line, or of the real images of --people (none for a model that takes none)."""
    from brain_diffusion_jax.evaluation.study.real_people import people_of

    if not options.people:
        if options.data:
            raise InputError("command line", "--data", "without --people", "--people SPLIT")
        return options.read(model.schema)
    if options.set or options.conditions:
        raise InputError("command line", "--people", "beside --set or --conditions", "one of them")
    found = people_of(model, options.data, options.people).conditions
    return [dict(c) if model.conditional else {} for c in found for _ in range(options.each)]
