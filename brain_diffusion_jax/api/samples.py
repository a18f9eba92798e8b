"""Folders of synthetic images: written batch by batch, so that an interrupted call goes on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from brain_diffusion_jax import __version__
from brain_diffusion_jax.api.protocols import Generator, Opened
from brain_diffusion_jax.data import bids, picture_grid
from brain_diffusion_jax.data.condition_draw import DrawnRow
from brain_diffusion_jax.data.sample_folder import BESIDE, SampleFolder, read_pictures, require_usable, slice_index
from brain_diffusion_jax.diffusion.sampling import Sampling
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.tasks.model import Conditions
from brain_diffusion_jax.training.run_folder import checkpoints
from brain_diffusion_jax.training.run_folder.stopping import lock


def record_of(model: Opened, *, ema: bool = True) -> dict[str, Any]:
    """What a folder of images remembers of the model, so that no other one goes on with it."""
    return {"run": str(model.path), "checkpoint": model.step, "ema": ema, "weights": model.version}


def origin_of(model: Opened, *, ema: bool = True) -> dict[str, Any]:
    """What made images, for GeneratedBy of a BIDS data set: program, configuration and weights, without paths."""
    config = json.dumps(checkpoints.read_config(model.path), sort_keys=True)
    return {
        "Name": "brain-diffusion-jax",
        "Version": __version__,
        "Description": f"model {model.path.name!r} of kind {model.kind}",
        "ConfigSHA256": hashlib.sha256(config.encode()).hexdigest(),
        "Checkpoint": model.step,
        "Weights": model.version,
        "AveragedWeights": ema,
    }


def write_samples(
    model: Generator,
    conditions: Conditions,
    sampling: Sampling,
    out: str | Path,
    *,
    seed: int = 0,
    ema: bool = True,
    resume: bool = False,
    nifti: bool = True,
    contrast: bids.Contrast | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> SampleFolder:
    """One image a condition: PNGs, NIfTI in world space, manifest.csv and grid.png in `out`.

    ema: which weights were loaded, for the record. resume: go on with an interrupted folder, if weights, conditions
    and settings are the same. contrast: makes `out` a BIDS data set too, with the NIfTIs in its folders.
    progress: (done, total). Raises InputError before anything is written.
    """
    require_usable(out, resume=resume)
    tell = progress or (lambda done, total: None)
    wanted = [dict(condition) for condition in conditions]
    record = {**record_of(model, ema=ema), "conditions": wanted, "seed": seed}
    settings = sampling.record() if model.guided else {}
    record |= settings
    dataset = None
    if contrast is not None:
        _require_places(model, wanted)
        record |= {"bids": contrast.record()}
        dataset = bids.Dataset(Path(out), contrast, origin_of(model, ema=ema), settings)
    with lock(out):
        folder = SampleFolder(out, record, model.contract, resume=resume, dataset=dataset)
        if dataset is not None:
            rows = [DrawnRow(index, condition, seed) for index, condition in enumerate(wanted)]
            dataset.write_tables(model.schema, rows, BESIDE)
        tell(folder.done, len(wanted))
        for first, images in model.batches(wanted, sampling, seed, folder.done):
            folder.write(
                first,
                images,
                wanted[first : first + len(images)],
                seed=seed,
                guidance_scale=sampling.guidance_scale if model.guided else None,
                columns=model.schema.names,
                nifti=nifti,
            )
            tell(folder.done, len(wanted))
        shown = read_pictures(folder.path)[0][:64]
        picture_grid.save_png(folder.path / "grid.png", picture_grid.tile(shown, min(8, len(shown))))
    return folder


def _require_places(model: Generator, conditions: list[dict[str, Any]]) -> None:
    """Raise InputError where an image would have no place in BIDS: see `bids.require_place`."""
    contract = bids.require_place(model.contract, model.path)
    for condition in conditions if contract.kind == "slices" else ():
        if slice_index(contract, condition) is None:
            found = f"no slice of the grid in {condition}"
            raise InputError("command line", "--bids", found, "a slice for every image, such as --set slice=45")
