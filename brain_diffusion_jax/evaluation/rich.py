"""What notebooks show of a model, a study, a sweep or an array of images."""

from __future__ import annotations

import base64
import sys
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from brain_diffusion_jax.data.picture_grid import as_png, three_planes, tile
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation.image_set import check_images


def show(item: Any) -> None:
    """Display an object with `_repr_html_` in the notebook that runs this; elsewhere print its repr."""
    if "IPython" in sys.modules and (shell := sys.modules["IPython"].get_ipython()) and hasattr(shell, "kernel"):
        sys.modules["IPython"].display.display(item)
    else:
        print(item)


def table_html(head: Sequence[Any], rows: Sequence[Sequence[Any]], caption: str = "") -> str:
    """A table of words; everything is escaped."""

    def line(cells: Sequence[Any], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(str(cell))}</{tag}>" for cell in cells) + "</tr>"

    top = f"<caption>{escape(caption)}</caption>" if caption else ""
    body = "".join(line(row, "td") for row in rows)
    return f"<table>{top}{line(head, 'th') if head else ''}{body}</table>"


def image_html(uri: str, width: int, text: str = "") -> str:
    """An image of a data URI, `width` pixels wide on the screen."""
    return f'<img src="{uri}" alt="{escape(text)}" style="width:{width}px;max-width:100%">'


def file_html(path: Path, text: str = "") -> str:
    """A PNG file within the page itself."""
    uri = "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
    return f'<img src="{uri}" alt="{escape(text)}" style="max-width:100%">'


class Pictures:
    """Images as a notebook shows them: a grid of slices, three planes of each volume below each other.

    images: [n, *spatial, channels] (or one grey slice a row [n, rows, cols]), uint8 or floats in [0, 1]. columns: of
    the grid; 0 makes it about square. Raises InputError for what is no set of images.
    """

    def __init__(self, images: Float[np.ndarray, "n *spatial c"], columns: int = 0) -> None:
        self.images, self.columns = check_images(images), columns
        if self.images.ndim == 5 and self.images.shape[-1] not in (1, 3):
            raise InputError("show", "channels", self.images.shape[-1], "1, or 3 colours")

    def sheet(self) -> np.ndarray:
        """uint8 [rows, cols] or [rows, cols, 3]: what is shown."""
        if self.images.ndim < 5:
            return tile(self.images, self.columns)
        planes = np.moveaxis(three_planes(np.moveaxis(self.images, -1, 1)), 1, -1)
        return tile(planes, self.columns or 1)

    def _repr_html_(self) -> str:
        sheet = self.sheet()
        return image_html(as_png(sheet), min(1000, 3 * sheet.shape[1]), repr(self))

    def __repr__(self) -> str:
        word = "volumes" if self.images.ndim == 5 else "pictures"
        return f"{len(self.images)} {word} of {' x '.join(map(str, self.images.shape[1:-1]))}"

    def show(self) -> None:
        """Display them in a notebook; elsewhere print what they are."""
        show(self)
