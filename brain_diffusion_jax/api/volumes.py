"""Whole volumes: all slices of a head sampled together, and how smooth they are beside real heads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from brain_diffusion_jax import files
from brain_diffusion_jax.api.loading import slice_contract
from brain_diffusion_jax.api.samples import origin_of
from brain_diffusion_jax.contract import FILE_NAME, Contract
from brain_diffusion_jax.data import bids, picture_grid
from brain_diffusion_jax.data.condition_draw import DrawnRow
from brain_diffusion_jax.data.prepare import nifti, slicing
from brain_diffusion_jax.data.sample_folder import in_source_unit
from brain_diffusion_jax.data.shards import reader
from brain_diffusion_jax.diffusion.sampling import Sampling
from brain_diffusion_jax.diffusion.stack import adjacent_differences
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.pixels import to_unit
from brain_diffusion_jax.seeds import check_seed
from brain_diffusion_jax.tasks.diffusion.model import DiffusionModel
from brain_diffusion_jax.tasks.model import Conditions

SUMMARY = "volumes.json"


def known_slices(model: DiffusionModel) -> tuple[Contract, list[int]]:
    """The contract of a model of slices cut from volumes, and the slices it was trained on; refuses another model."""
    contract = slice_contract(model, "a stack")
    return contract, [int(k) for k in contract.slices.indices or ()]


def _grid_shape(contract: Contract) -> tuple[int, int, int]:
    x, y, z = contract.grid.shape or ()
    return x, y, z


def slice_range(model: DiffusionModel, interval: tuple[int, int] | None) -> list[int]:
    """(40, 60) means 40 to 60; None -> from the first to the last slice the model was trained on."""
    contract, indices = known_slices(model)
    first, last = interval or (min(indices), max(indices))
    count = _grid_shape(contract)[slicing.AXES[str(contract.slices.axis)]]
    if not 0 <= first <= last < count:
        raise InputError("command line", "--slices", f"{first}:{last}", f"FROM:TO within 0..{count - 1}")
    return list(range(first, last + 1))


def real_differences(shards: str, indices: list[int], most: int = 40) -> dict[str, Any] | None:
    """Differences of neighbouring slices of real held-out heads, a pair; None where the shards are not there."""
    if not shards or not Path(shards).is_dir():
        return None
    source = reader.read_all(shards, "test")
    heads: dict[str, dict[int, int]] = {}
    for row, (scan, index) in enumerate(zip(source["scan"], source["slice_index"], strict=True)):
        heads.setdefault(str(scan), {})[int(index)] = row
    whole = [rows for rows in heads.values() if set(indices) <= set(rows)][:most]
    if len(indices) < 2 or not whole:
        return None
    found = [adjacent_differences(to_unit(source["image"][[rows[k] for k in indices]])) for rows in whole]
    return {"heads": len(whole), "mean": float(np.mean(found)), "pairs": np.mean(found, axis=0).tolist()}


def write_volumes(
    model: DiffusionModel,
    conditions: Conditions,
    slices: Sequence[int],
    sampling: Sampling,
    out: Path,
    *,
    seed: int = 0,
    overlap: float = 0.3,
    contrast: bids.Contrast | None = None,
    ema: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """One volume a condition as NIfTI on the contract's grid, with a PNG and volumes.json; returns what that holds.

    Volume i has seed + i. overlap: pull between neighbouring slices, 0 to 1; 0 is off. sampling: deterministic DDIM.
    contrast: makes `out` a BIDS data set, which holds the NIfTIs. ema: which weights were loaded, for its record.
    progress: (done, total). Raises InputError before anything is written.
    """
    contract, indices = known_slices(model)
    if contrast is not None:
        bids.require_place(contract, model.path)
    if not 0 <= overlap <= 1:
        raise InputError("command line", "--overlap", overlap, "0 to 1")
    files.require_new_folder(out)
    check_seed(seed + len(conditions) - 1, "command line", f"--seed of volume {len(conditions)}")
    if sampling.sampler != "ddim" or sampling.eta:
        raise InputError("command line", "--sampler", f"{sampling.sampler}, eta {sampling.eta}", "ddim, eta 0")
    out.mkdir(parents=True, exist_ok=True)
    contract.save(out)
    dataset = None
    if contrast is not None:
        dataset = bids.Dataset(out, contrast, origin_of(model, ema=ema), {**sampling.record(), "overlap": overlap})
        drawn = [DrawnRow(number, condition, seed + number) for number, condition in enumerate(conditions)]
        dataset.write_tables(contract.schema, drawn, (SUMMARY, FILE_NAME, "*.png"))
    real = real_differences(model.config.data.shards, indices)
    rows = []
    for number, condition in enumerate(conditions):
        images = model.sample_volume(
            condition,
            slices,
            sampling.guidance_scale,
            num_steps=sampling.num_steps,
            spacing=sampling.spacing,
            seed=seed + number,
            overlap_scale=overlap,
        )[..., 0]
        path = out / f"{number:04d}.nii.gz"
        if dataset is not None:
            path = dataset.image(number)
            dataset.write_sidecar(DrawnRow(number, condition, seed + number))
        _write_volume(path, images, slices, contract)
        sheet = picture_grid.tile(images[:: max(1, len(slices) // 16)], 8)
        picture_grid.save_png(out / f"{number:04d}.png", sheet)
        row = {"file": path.relative_to(out).as_posix(), "seed": seed + number}
        rows.append(row | _row(condition, images, slices, indices))
        if progress is not None:
            progress(number + 1, len(conditions))
    summary = {"out": str(out), "slices": [slices[0], slices[-1]], "volumes": rows, "real": real}
    files.write_json(out / SUMMARY, summary)
    return summary


def _write_volume(
    path: Path, images: Float[np.ndarray, "slices rows cols"], slices: Sequence[int], contract: Contract
) -> None:
    """NIfTI on the contract's grid."""
    axis, fit = str(contract.slices.axis), slicing.Fit.of(contract.fit)
    stored = in_source_unit(images, contract)
    volume = slicing.place_in_volume(stored, list(slices), _grid_shape(contract), axis, fit)
    nifti.save_volume(path, volume, np.array(contract.grid.affine))


def _row(
    condition: Mapping[str, object],
    images: Float[np.ndarray, "slices rows cols"],
    slices: Sequence[int],
    indices: Sequence[int],
) -> dict[str, Any]:
    """The condition and how far neighbours differ, of all slices and of those that the model was trained on."""
    row = {**condition, "neighbours": float(adjacent_differences(images).mean())}
    if len(indices) > 1 and set(indices) <= set(slices):
        row["at_trained_slices"] = adjacent_differences(images[[slices.index(k) for k in indices]]).tolist()
    return row


def describe(summary: dict[str, Any], indices: Sequence[int]) -> str:
    """The result of `write_volumes` in words. indices: the slices that the model was trained on."""
    first, last = summary["slices"]
    lines = [f"{len(summary['volumes'])} volumes of {last - first + 1} slices in {summary['out']} (volumes.json)"]
    found = [r["at_trained_slices"] for r in summary["volumes"] if "at_trained_slices" in r]
    if real := summary["real"] if found else None:
        lines.append(f"difference of neighbouring slices (unit intensity), {real['heads']} real heads:")
        pairs = zip(indices[:-1], indices[1:], np.mean(found, axis=0), real["pairs"], strict=True)
        for lower, upper, mine, theirs in (*pairs, ("all", "", np.mean(found), real["mean"])):
            lines.append(f"  {f'{lower} {upper}':9} {mine:.4f}  real {theirs:.4f}")
    return "\n".join(lines)
