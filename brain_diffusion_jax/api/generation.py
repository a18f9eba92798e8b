"""Data sets of synthetic volumes of any size, in BIDS layout: every file depends on its row alone.

    OUT/generation.json  measured.tsv  contract.json, and what `data.bids` lists

Rows may be made in any order, by any number of processes that share the folder, and after any interruption: row k of
a data set is the same file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from brain_diffusion_jax import files
from brain_diffusion_jax.api.samples import origin_of, record_of
from brain_diffusion_jax.contract import FILE_NAME, Contract
from brain_diffusion_jax.data import bids
from brain_diffusion_jax.data.condition_draw import DrawnRow, shard_rows
from brain_diffusion_jax.data.prepare import head_volumes
from brain_diffusion_jax.data.prepare.head_volumes import Region
from brain_diffusion_jax.data.prepare.nifti import write_image
from brain_diffusion_jax.data.sample_folder import volume_nifti
from brain_diffusion_jax.data.table import table_text
from brain_diffusion_jax.diffusion.sampling import Sampling
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.pixels import to_uint8
from brain_diffusion_jax.tasks.diffusion.model import DiffusionModel
from brain_diffusion_jax.tasks.gan.model import GanModel

RECORD = "generation.json"
MEASURED = "measured.tsv"


def generate(
    model: DiffusionModel | GanModel,
    rows: Sequence[DrawnRow],
    sampling: Sampling,
    out: str | Path,
    *,
    shard: str = "0/1",
    ema: bool = True,
    region: Region | None = None,
    contrast: bids.Contrast = bids.Contrast(),
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write one volume a row into `out`, with the requested conditions in participants.tsv; what is there stays.

    rows: all of the data set, row k at place k (`condition_draw.ConditionDraw`, `condition_draw.table_rows`). shard:
    "i/n", the part of them that this call makes; every part writes the same tables. ema: which weights were loaded,
    for the record. region: measures ventricles and brain of every volume as it is written, into a file beside it; the
    part that finds all volumes there writes measured.tsv. contrast: of the scans that the model learned from.
    progress: (done, of this part). Raises InputError, before anything is written, for a model of slices or of several
    channels and for a folder of another data set.
    """
    out, contract = Path(out), model.contract
    if contract is None or contract.kind != "volumes":
        found = "no contract" if contract is None else contract.kind
        raise InputError(model.path, "contract", found, "volumes: `sample` writes slices and pictures")
    bids.require_place(contract, model.path)
    drawn = sampling.record() if model.guided else {}
    dataset = bids.Dataset(out, contrast, origin_of(model, ema=ema), drawn)
    mine = [rows[k] for k in shard_rows(len(rows), shard)]
    record = {**record_of(model, ema=ema), **drawn, **contrast.record(), "rows": len(rows)}
    _open(dataset, record | ({"region": region.digest} if region else {}), contract, rows)
    missing = [row for row in mine if not dataset.image(row.row).is_file()]
    done = len(mine) - len(missing)
    if progress is not None:
        progress(done, len(mine))
    size = sampling.batch_size
    for first in range(0, len(missing), size):
        chosen = missing[first : first + size]
        # Always whole batches, so that one program makes every volume, to the last bit.
        padded = [*chosen, *[chosen[-1]] * (size - len(chosen))]
        images = model.at([dict(row.condition) for row in padded], [row.seed for row in padded], sampling)
        for row, volume in zip(chosen, images, strict=False):
            # The image comes last: it says that its row is done.
            dataset.write_sidecar(row, None if region is None else _values(volume, region))
            write_image(dataset.image(row.row), volume_nifti(volume, contract))
        done += len(chosen)
        if progress is not None:
            progress(done, len(mine))
    if region is not None and all(dataset.image(row.row).is_file() for row in rows):
        files.write_text(out / MEASURED, measured(dataset, rows))
    return out


def _values(volume: Float[np.ndarray, "x y z c"], region: Region) -> dict[str, float]:
    return {name: float(value[0]) for name, value in head_volumes.measure(to_uint8(volume)[None], region).items()}


def measured(dataset: bids.Dataset, rows: Sequence[DrawnRow]) -> str:
    """measured.tsv: of every row what was requested and what was measured on its volume, in the same unit."""
    found = [files.read_json(dataset.sidecar(row.row), "sidecar")["Measured"] for row in rows]
    lines = [["participant_id", *(f"{when}_{name}" for name in found[0] for when in ("requested", "measured"))]]
    for row, values in zip(rows, found, strict=True):
        both = [v for name in values for v in (row.condition.get(name), values[name])]
        lines.append([bids.participant(row.row), *map(bids.cell, both)])
    return table_text(lines, "\t")


def _open(dataset: bids.Dataset, record: dict[str, Any], contract: Contract, rows: Sequence[DrawnRow]) -> None:
    """Write the tables of a new data set; refuses a folder that is of another one."""
    out = dataset.folder
    if (out / RECORD).is_file():
        old = files.read_json(out / RECORD, "record of a generated data set")
        other = sorted(k for k in {*old, *record} if old.get(k) != record.get(k))
        if other:
            found = ", ".join(f"{k} {record.get(k)!r}" for k in other)
            expected = ", ".join(f"{k} {old.get(k)!r}" for k in other) + ", as it was begun, or another folder"
            raise InputError(out / RECORD, "settings", found, expected)
        path = out / bids.PARTICIPANTS
        if files.read_text(path, "participants") != bids.participants(rows, contract.schema):
            raise InputError(path, "conditions", "others", "those it was begun with, or another folder")
        return
    if out.exists() and any(out.iterdir()):
        raise InputError(out, "output folder", "other files", "a new folder, or one of `generate`")
    dataset.write_tables(contract.schema, rows, (RECORD, MEASURED, FILE_NAME))
    contract.save(out)
    files.write_json(out / RECORD, record)  # last: it marks a folder whose tables are whole
