"""Folders of synthetic images: written batch by batch, so that an interrupted call goes on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from brain_diffusion_jax.api.protocols import Generator, Opened
from brain_diffusion_jax.data import picture_grid
from brain_diffusion_jax.data.sample_folder import SampleFolder, read_pictures, require_usable
from brain_diffusion_jax.diffusion.sampling import Sampling
from brain_diffusion_jax.tasks.model import Conditions
from brain_diffusion_jax.training.run_folder.stopping import lock


def record_of(model: Opened, *, ema: bool = True) -> dict[str, Any]:
    """What a folder of images remembers of the model, so that no other one goes on with it."""
    return {"run": str(model.path), "checkpoint": model.step, "ema": ema, "weights": model.version}


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
    progress: Callable[[int, int], None] | None = None,
) -> SampleFolder:
    """One image a condition: PNGs, NIfTI in world space, manifest.csv and grid.png in `out`.

    ema: which weights were loaded, for the record. resume: go on with an interrupted folder, if weights, conditions
    and settings are the same. progress: (done, total). Raises InputError before anything is written.
    """
    require_usable(out, resume=resume)
    tell = progress or (lambda done, total: None)
    wanted = [dict(condition) for condition in conditions]
    record = {**record_of(model, ema=ema), "conditions": wanted, "seed": seed}
    if model.guided:
        record |= sampling.record()
    with lock(out):
        folder = SampleFolder(out, record, model.contract, resume=resume)
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
