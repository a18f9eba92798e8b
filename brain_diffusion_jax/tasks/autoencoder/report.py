"""How well an autoencoder keeps images of people it never saw: what a training leaves beside its checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
from jaxtyping import Float, Shaped, UInt8

from brain_diffusion_jax import files
from brain_diffusion_jax.data import picture_grid
from brain_diffusion_jax.data.shards.reader import load_manifest, open_split
from brain_diffusion_jax.evaluation.metrics.floors import floors
from brain_diffusion_jax.evaluation.metrics.reconstruction import reconstruction_numbers
from brain_diffusion_jax.pixels import to_unit
from brain_diffusion_jax.tasks.autoencoder.collapse import collapsed
from brain_diffusion_jax.tasks.autoencoder.model import AutoencoderModel
from brain_diffusion_jax.tasks.opening import open_run

REPORT = "autoencoder_report.json"
PICTURE = "autoencoder_planes.png"
OWN = "autoencoder"
Images = Float[np.ndarray, "n *spatial c"]


def write(run: Path, shards: str, most: int = 64, most_training: int = 256, replicates: int = 200) -> dict[str, Any]:
    """Report of the newest checkpoint on held-out people, written into the run folder.

    Of each of the splits validation and test up to `most` images, evenly chosen: PSNR, SSIM, MS-SSIM and fine structure
    of the reconstructions; on the last split also of the floors, fitted on up to `most_training` training images.
    autoencoder_report.json; autoencoder_planes.png: images, reconstructions and 4 times their difference.
    """
    model = cast(AutoencoderModel, open_run(run))
    latent, numbers = model.config.latent, int(np.prod(model.latent_shape))
    result: dict[str, Any] = {
        "step": model.step,
        "latent_numbers": numbers,
        "latent": {**vars(latent), "collapsed": collapsed(latent.kl, latent.spread)},
    }
    held_out = [name for name in ("validation", "test") if name in load_manifest(shards)["splits"]]
    for split in held_out:
        images, people = _some(shards, split, most)
        output = model.reconstruct(to_unit(images))
        result[split] = {OWN: reconstruction_numbers(images, output, people, replicates=replicates)}
        if split == held_out[-1]:
            training, _ = _some(shards, "train", most_training)
            result[split] |= floors(training, images, people, numbers, replicates=replicates)
            picture_grid.save_png(run / PICTURE, planes(to_unit(images[:4]), output[:4]))
    files.write_json(run / REPORT, result)
    return result


def _some(shards: str, split: str, most: int) -> tuple[Shaped[np.ndarray, "n *spatial c"], list[str]]:
    """(stored images, whose they are) of a split, at most so many, evenly chosen."""
    source = open_split(shards, split)
    rows = np.unique(np.linspace(0, len(source) - 1, min(most, len(source))).astype(int))
    items = [source[int(row)] for row in rows]
    return np.stack([item["image"] for item in items]), [str(item["person"]) for item in items]


def planes(target: Images, output: Images) -> UInt8[np.ndarray, "height width *rgb"]:
    """Of each image a row: itself, its reconstruction and 4 times their difference; volumes in three planes each."""
    columns = [target, output, np.clip(0.5 + 4 * (output - target), 0, 1)]
    flat = np.stack(columns, axis=1).reshape(-1, *target.shape[1:])
    return picture_grid.tile(flat if flat.ndim == 4 else picture_grid.three_planes(flat[..., 0]), 3)


def summary(result: dict[str, Any], run: Path) -> str:
    """The report as text."""
    lines = []
    for split in ("validation", "test"):
        for name, numbers in result.get(split, {}).items():
            shown = {k: v["value"] for k, v in numbers.items() if k.startswith(("PSNR", "SSIM", "MS-SSIM"))}
            told = [f"{key} {value:.3g}" if value is not None else f"{key} -" for key, value in shown.items()]
            lines.append(f"{split:<11}{name:<22}{'  '.join(told)}")
    lost = result["latent"]["collapsed"]
    lines.append(f"{result['latent_numbers']} latent numbers, collapsed channels: {lost or 'none'}")
    return "\n".join([*lines, f"{run}: step {result['step']}; {REPORT}, {PICTURE}"])
