"""`sample --stack`: one volume a condition, and how smooth it is through the planes beside real heads."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from brain_diffusion_jax import files
from brain_diffusion_jax.cli import conditions
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.seeds import check_seed


def slice_range(text: str | None, indices: list[int], count: int) -> list[int]:
    """The text 40:60 means 40 to 60; None -> from the first to the last slice the model was trained on."""
    if text is None:
        return list(range(min(indices), max(indices) + 1))
    first, separator, last = text.partition(":")
    try:
        found = list(range(int(first), int(last) + 1)) if separator else []
    except ValueError:
        found = []
    if not found or found[0] < 0 or found[-1] >= count:
        raise InputError("command line", "--slices", text, f"FROM:TO within 0..{count - 1}")
    return found


def real_differences(shards: str, indices: list[int], most: int = 40) -> dict[str, Any] | None:
    """Differences of neighbouring slices of real held-out heads, a pair; None where the shards are not there."""
    import numpy as np

    from brain_diffusion_jax.data.shards import reader
    from brain_diffusion_jax.diffusion.stack import adjacent_differences
    from brain_diffusion_jax.pixels import to_unit

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


def run(arguments: argparse.Namespace, model: Any) -> int:
    import json

    import numpy as np
    from tqdm import tqdm

    from brain_diffusion_jax.cli.sample import sampling_settings
    from brain_diffusion_jax.data import picture_grid
    from brain_diffusion_jax.data.prepare import nifti, slicing
    from brain_diffusion_jax.data.sample_folder import in_source_unit
    from brain_diffusion_jax.diffusion.stack import adjacent_differences

    contract = model.contract
    if contract is None or not contract.grid.shape or not contract.slices.indices:
        raise InputError(arguments.run, "contract", "no grid", "a model of slices cut from volumes")
    if not 0 <= arguments.overlap <= 1:
        raise InputError("command line", "--overlap", arguments.overlap, "0 to 1")
    out = Path(arguments.out)
    if out.exists() and any(out.iterdir()):
        raise InputError(out, "output folder", "other files", "a new or empty folder")
    indices = [int(k) for k in contract.slices.indices]
    axis, shape = str(contract.slices.axis), contract.grid.shape
    chosen = slice_range(arguments.slices, indices, shape[slicing.AXES[axis]])
    wanted = conditions.from_arguments(arguments, model.schema)
    check_seed(arguments.seed + len(wanted) - 1, "command line", f"--seed of volume {len(wanted)}")
    scale = model.config.sample.guidance_scale if arguments.guidance is None else arguments.guidance
    settings = sampling_settings(arguments, model.config.sample)
    if settings["sampler"] != "ddim" or settings["eta"]:
        raise InputError("command line", "--sampler", f"{settings['sampler']}, eta {settings['eta']}", "ddim, eta 0")
    couplings = {"overlap_scale": arguments.overlap}
    steps = {"num_steps": settings["num_steps"], "spacing": settings["spacing"]}
    model.cells([scale], **steps)
    fit = slicing.Fit.of(contract.fit)
    out.mkdir(parents=True, exist_ok=True)
    contract.save(out)

    real = real_differences(model.config.data.shards, indices)
    rows = []
    for number, condition in enumerate(tqdm(wanted, unit="volume", disable=None)):
        seed = arguments.seed + number
        pictures = model.sample_volume(condition, chosen, scale, seed=seed, **steps, **couplings)[..., 0]
        values = in_source_unit(pictures, contract)
        volume = slicing.place_in_volume(values, chosen, shape, axis, fit)
        nifti.save_volume(out / f"{number:04d}.nii.gz", volume, np.array(contract.grid.affine))
        shown = pictures[:: max(1, len(chosen) // 16)]
        picture_grid.save_png(out / f"{number:04d}.png", picture_grid.tile(shown, 8))
        row = {
            "file": f"{number:04d}.nii.gz",
            "seed": seed,
            **condition,
            "neighbours": float(adjacent_differences(pictures).mean()),
        }
        places = [chosen.index(k) for k in indices if k in chosen]
        if len(places) == len(indices) > 1:
            row["at_trained_slices"] = adjacent_differences(pictures[places]).tolist()
        rows.append(row)
    summary = {"out": str(out), "slices": [chosen[0], chosen[-1]], "volumes": rows, "real": real}
    files.write_json(out / "volumes.json", summary)
    if arguments.json:
        print(json.dumps(summary))
        return 0
    print(f"{len(rows)} volumes of {len(chosen)} slices in {out} (volumes.json)")
    found = [r["at_trained_slices"] for r in rows if "at_trained_slices" in r]
    if found and real:
        print(f"difference of neighbouring slices (unit intensity), {real['heads']} real heads:")
        pairs = zip(indices[:-1], indices[1:], np.mean(found, axis=0), real["pairs"], strict=True)
        for lower, upper, mine, theirs in (*pairs, ("all", "", np.mean(found), real["mean"])):
            print(f"  {f'{lower} {upper}':9} {mine:.4f}  real {theirs:.4f}")
    return 0
