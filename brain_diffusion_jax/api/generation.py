"""Data sets of synthetic volumes of any size, in BIDS layout: every file depends on its row alone.

    OUT/dataset_description.json  participants.tsv  generation.json  measured.tsv
        sub-000007/anat/sub-000007_T1w.nii.gz  sub-000007_T1w.json

Rows may be made in any order, by any number of processes that share the folder, and after any interruption: row k of
a data set is the same file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from brain_diffusion_jax import __version__, files
from brain_diffusion_jax.api.samples import record_of
from brain_diffusion_jax.contract import Contract
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
DESCRIPTION = "dataset_description.json"
PARTICIPANTS = "participants.tsv"
MEASURED = "measured.tsv"


def volume_file(row: int) -> str:
    """Where the volume of a row lies in its data set."""
    return f"sub-{row:06d}/anat/sub-{row:06d}_T1w.nii.gz"


def _sidecar(volume: Path) -> Path:
    return volume.with_name(volume.name.replace(".nii.gz", ".json"))


def generate(
    model: DiffusionModel | GanModel,
    rows: Sequence[DrawnRow],
    sampling: Sampling,
    out: str | Path,
    *,
    shard: str = "0/1",
    ema: bool = True,
    region: Region | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write one volume a row into `out`, with the requested conditions in participants.tsv; what is there stays.

    rows: all of the data set, row k at place k (`condition_draw.ConditionDraw`, `condition_draw.table_rows`). shard:
    "i/n", the part of them that this call makes; every part writes the same tables. ema: which weights were loaded,
    for the record. region: measures ventricles and brain of every volume as it is written, into a file beside it; the
    part that finds all volumes there writes measured.tsv. progress: (done, of this part). Raises InputError, before
    anything is written, for a model of slices and for a folder of another data set.
    """
    out, contract = Path(out), model.contract
    if contract is None or contract.kind != "volumes":
        found = "no contract" if contract is None else contract.kind
        raise InputError(model.path, "contract", found, "volumes: `sample` writes slices and pictures")
    mine = [rows[k] for k in shard_rows(len(rows), shard)]
    record = {**record_of(model, ema=ema), **(sampling.record() if model.guided else {}), "rows": len(rows)}
    _open(out, record | ({"region": region.digest} if region else {}), contract, rows)
    missing = [row for row in mine if not (out / volume_file(row.row)).is_file()]
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
            path = out / volume_file(row.row)
            path.parent.mkdir(parents=True, exist_ok=True)
            if region is not None:  # before its volume, whose file says that the row is done
                values = head_volumes.measure(to_uint8(volume)[None], region)
                files.write_json(_sidecar(path), {name: float(value[0]) for name, value in values.items()})
            write_image(path, volume_nifti(volume, contract))
        done += len(chosen)
        if progress is not None:
            progress(done, len(mine))
    if region is not None and all((out / volume_file(row.row)).is_file() for row in rows):
        files.write_text(out / MEASURED, measured(out, rows))
    return out


def measured(out: Path, rows: Sequence[DrawnRow]) -> str:
    """measured.tsv: of every row what was requested and what was measured on its volume, in the same unit."""
    found = [files.read_json(_sidecar(out / volume_file(row.row)), "measured values") for row in rows]
    lines = [["participant_id", *(f"{when}_{name}" for name in found[0] for when in ("requested", "measured"))]]
    for row, values in zip(rows, found, strict=True):
        both = [v for name in values for v in (row.condition.get(name), values[name])]
        lines.append([_name(row), *map(_cell, both)])
    return table_text(lines, "\t")


def _open(out: Path, record: dict[str, Any], contract: Contract, rows: Sequence[DrawnRow]) -> None:
    """Write the tables of a new data set; refuses a folder that is of another one."""
    table = participants(rows, contract.schema.names)
    if (out / RECORD).is_file():
        old = files.read_json(out / RECORD, "record of a generated data set")
        other = sorted(k for k in {*old, *record} if old.get(k) != record.get(k))
        if other:
            found = ", ".join(f"{k} {record.get(k)!r}" for k in other)
            expected = ", ".join(f"{k} {old.get(k)!r}" for k in other) + ", as it was begun, or another folder"
            raise InputError(out / RECORD, "settings", found, expected)
        if files.read_text(out / PARTICIPANTS, "participants") != table:
            raise InputError(out / PARTICIPANTS, "conditions", "others", "those it was begun with, or another folder")
        return
    if out.exists() and any(out.iterdir()):
        raise InputError(out, "output folder", "other files", "a new folder, or one of `generate`")
    out.mkdir(parents=True, exist_ok=True)
    contract.save(out)
    files.write_text(out / PARTICIPANTS, table)
    files.write_json(
        out / DESCRIPTION,
        {
            "Name": "Synthetic brain volumes",
            "BIDSVersion": "1.10.0",
            "DatasetType": "derivative",
            "GeneratedBy": [{"Name": "brain-diffusion-jax", "Version": __version__, "Description": record["run"]}],
        },
    )
    files.write_json(out / RECORD, record)  # last: it marks a folder whose tables are whole


def participants(rows: Sequence[DrawnRow], names: Sequence[str]) -> str:
    """participants.tsv: id, seed and the requested conditions of every row, n/a where none was requested."""
    lines = [["participant_id", "seed", *names]]
    for row in rows:
        lines.append([_name(row), str(row.seed), *(_cell(row.condition.get(name)) for name in names)])
    return table_text(lines, "\t")


def _name(row: DrawnRow) -> str:
    return f"sub-{row.row:06d}"


def _cell(value: object) -> str:
    """A word as it is; a number with the seven digits that shards keep of it; n/a for what is absent."""
    if value is None:
        return "n/a"
    return f"{value:.7g}" if isinstance(value, float) else str(value)
