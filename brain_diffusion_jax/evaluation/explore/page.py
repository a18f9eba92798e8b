"""One HTML file that holds every picture of an explorer, as sheets of 8-bit PNG, and needs no network."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from brain_diffusion_jax import files
from brain_diffusion_jax.data.picture_grid import as_png, displayed, tile
from brain_diffusion_jax.evaluation.explore.axes import Axes, Axis
from brain_diffusion_jax.evaluation.report.volume_views import slice_film
from brain_diffusion_jax.pixels import to_uint8, to_unit

TEMPLATE = Path(__file__).with_name("explore_template.html")
_SHEET = 2**22  # pixels of one sheet: phones decode no very large ones


@dataclass(frozen=True)
class Reading:
    """A number beside each picture. values: [n], NaN where there is none; digits: after the point."""

    name: str
    values: Float[np.ndarray, " n"]
    unit: str = ""
    digits: int = 1

    def to_json(self) -> dict[str, Any]:
        """What the page holds; null for NaN."""
        values = [None if math.isnan(v) else round(float(v), self.digits + 1) for v in self.values]
        return {"name": self.name, "unit": self.unit, "digits": self.digits, "values": values}


@dataclass(frozen=True)
class Story:
    """What the page says of its pictures. start: by slider, the value that it opens with."""

    title: str
    subtitle: str
    notes: Sequence[str] = ()
    start: dict[str, Any] | None = None


def frames_of(images: Float[np.ndarray, "n *spatial c"]) -> UInt8[np.ndarray, "n depth rows cols *rgb"]:
    """Images as the page shows them: a slice is one frame, a volume its axial slices from below, as displayed."""
    if images.ndim == 5:
        return np.stack([slice_film(volume[None]) for volume in images])
    return to_uint8(displayed(images))[:, None]


def most_bytes(shape: Sequence[int]) -> int:
    """Of the page for each picture of this shape [*spatial, channels]: 8 bits a pixel, in base64."""
    *spatial, channels = shape
    return math.ceil(math.prod(spatial) * (3 if channels == 3 else 1) * 4 / 3) + 64


class Sheets:
    """Packs frames into PNG sheets as they come; `pictures` a sheet, frame after frame, row by row."""

    def __init__(self, shape: Sequence[int]) -> None:
        *spatial, _ = shape
        flat = len(spatial) == 2
        self.depth = 1 if flat else spatial[2]
        self.rows, self.cols = (spatial[0], spatial[1]) if flat else (spatial[1], spatial[0])
        self.pictures = max(1, _SHEET // (self.depth * self.rows * self.cols))
        frames = self.pictures * self.depth
        self.columns = min(frames, math.ceil(math.sqrt(frames * self.rows / self.cols)))

    def pack(self, frames: Iterable[UInt8[np.ndarray, "depth rows cols *rgb"]]) -> list[str]:
        """Data URIs of all sheets of the pictures in their order."""
        made, held = [], []
        for one in frames:
            held.append(one)
            if len(held) == self.pictures:
                made.append(self._sheet(held))
                held = []
        return made + ([self._sheet(held)] if held else [])

    def _sheet(self, held: Sequence[np.ndarray]) -> str:
        return as_png(tile(to_unit(np.concatenate(held)), self.columns, gap=0))

    def to_json(self) -> dict[str, int]:
        """What the page needs to find frame z of picture i."""
        return {name: getattr(self, name) for name in ("depth", "rows", "cols", "pictures", "columns")}


def _slider(axis: Axis, start: Any) -> dict[str, Any]:
    at = axis.values.index(start) if start in axis.values else len(axis) // 2
    words = isinstance(axis.values[0], str)
    return {
        "name": axis.name,
        "unit": axis.unit,
        "words": words,
        "values": list(axis.values),
        "start": 0 if words else at,
    }


def write_page(
    path: str | Path,
    axes: Axes,
    frames: UInt8[np.ndarray, "n depth rows cols *rgb"],
    shape: Sequence[int],
    readings: Sequence[Reading],
    story: Story,
) -> Path:
    """Write the page. frames: of every picture, in the order of `Axes.all`; shape: [*spatial, channels] of an image."""
    import jinja2

    sheets, start = Sheets(shape), story.start or {}
    uris = sheets.pack(frames)
    data = {
        "axes": [_slider(axis, start.get(axis.name)) for axis in axes.all],
        "sheet": sheets.to_json(),
        "colour": frames.ndim == 5,
        "readings": [reading.to_json() for reading in readings],
    }
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    html = environment.from_string(files.read_text(TEMPLATE)).render(
        title=story.title,
        subtitle=story.subtitle,
        notes=story.notes,
        sheets=uris,
        volume=sheets.depth > 1,
        data=json.dumps(data, separators=(",", ":")).replace("<", "\\u003c"),
    )
    files.write_text(path, html)
    return Path(path)
