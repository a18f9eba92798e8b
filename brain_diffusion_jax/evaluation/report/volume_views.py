"""Volumes in a report: three planes of each, and a slider through the axial slices of several side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped, UInt8

from brain_diffusion_jax.data.picture_grid import as_png, three_planes
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation.study.report_pictures import VOLUMES
from brain_diffusion_jax.pixels import to_uint8

_GAP = 2  # pixels between volumes


def shown_channels(volumes: Shaped[np.ndarray, "n x y z c"]) -> UInt8[np.ndarray, "n x y z *rgb"]:
    """uint8 as they are displayed: three channels are colours, of other numbers the first is shown."""
    if volumes.ndim != 5 or not len(volumes):
        raise InputError("report", "volumes", volumes.shape, "[n, x, y, z, channels], at least one")
    stored = to_uint8(volumes)
    return stored if volumes.shape[-1] == 3 else stored[..., 0]


def plane_strip(volumes: Shaped[np.ndarray, "n x y z c"]) -> UInt8[np.ndarray, "rows cols *rgb"]:
    """Axial, coronal and sagittal cuts through the middle of each volume, volumes below each other."""
    shown = shown_channels(volumes)
    cuts = three_planes(shown) if shown.ndim == 4 else np.moveaxis(three_planes(np.moveaxis(shown, -1, 1)), 1, -1)
    gap = np.full((_GAP, *cuts[0].shape[1:]), 255, np.uint8)
    return np.concatenate([part for cut in cuts for part in (cut, gap)][:-1])


def slice_film(volumes: Shaped[np.ndarray, "n x y z c"], step: int = 1) -> UInt8[np.ndarray, "frames rows cols *rgb"]:
    """Every step-th axial slice from the lowest up, as displayed; the volumes side by side in each frame."""
    shown = shown_channels(volumes)[:, ::-1, ::-1, ::step]
    frames = np.moveaxis(shown, 3, 0).swapaxes(2, 3)  # [frames, n, rows, cols(, rgb)]
    gap = np.full((*frames.shape[:1], frames.shape[2], _GAP, *frames.shape[4:]), 255, np.uint8)
    parts = [part for n in range(frames.shape[1]) for part in (frames[:, n], gap)]
    return np.concatenate(parts[:-1], axis=2)


def slider(name: str, volumes: Shaped[np.ndarray, "n x y z c"], step: int = 2, zoom: int = 2) -> dict[str, Any]:
    """What the template needs of a slider: one picture with all frames below each other, of which it shows one.

    zoom: screen pixels for one of the volume.
    """
    film = slice_film(volumes, step)
    frames, rows, cols = film.shape[:3]
    return {
        "name": name,
        "image": as_png(film.reshape(frames * rows, *film.shape[2:])),
        "frames": frames,
        "middle": frames // 2,
        "height": rows * zoom,
        "width": cols * zoom,
    }


def volume_section(sets: Mapping[str, Shaped[np.ndarray, "n x y z c"]], labels: Sequence[str]) -> dict[str, Any]:
    """A section of the report: planes and a slider of each set. Volume i of every set was made for labels[i]."""
    shown = ", ".join(labels)
    return {
        "title": "Volumes",
        "text": [
            "The same conditions in every set, the person's right on the left. Planes: axial, coronal and sagittal "
            f"through the middle. Sliders: axial slices from below, from left to right {shown}."
        ],
        "figures": [
            {"image": as_png(plane_strip(volumes)), "caption": f"{name}: {shown}"} for name, volumes in sets.items()
        ],
        "tables": [],
        "pairs": [],
        "sliders": [slider(name, volumes) for name, volumes in sets.items()],
    }


def sections_of(path: Path) -> list[dict[str, Any]]:
    """The section of the volumes that a study kept in its file of pictures; none of a study of slices."""
    if not path.exists():
        return []
    with np.load(path) as file:
        kept = {name.removeprefix(VOLUMES): file[name] for name in file.files if name.startswith(VOLUMES)}
    labels = [str(label) for label in kept.pop("labels", [])]
    return [volume_section(kept, labels)] if kept else []
