"""Pictures that a table describes: any covariates, one row a picture, as a source of shards (contract kind "pictures").

The table is read as a cohort's is (`cohort.read_cohort`): columns, codes, rows to keep, missing values. The unit of
the split is the column `group`, else `person`: who knows that pictures belong together says so there.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from brain_diffusion_jax.contract import Contract, Split
from brain_diffusion_jax.covariates import Schema
from brain_diffusion_jax.data.prepare.intensity import Window
from brain_diffusion_jax.data.prepare.picture_prep import prepare_picture, to_square
from brain_diffusion_jax.data.sources.cohort import CohortSpec, read_cohort
from brain_diffusion_jax.data.sources.image_source import PicturesSpec, pictures_contract
from brain_diffusion_jax.data.sources.picture_file import read_colour, read_grey
from brain_diffusion_jax.data.sources.scans import Scans
from brain_diffusion_jax.data.sources.source import Entry, Examples
from brain_diffusion_jax.data.table import read_table
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.pixels import to_unit

GROUPS = ("group", "person")  # columns that say which pictures belong together, the first there is


@dataclasses.dataclass(frozen=True)
class TablePictures(Scans[PicturesSpec]):
    """The `Source` of a table's pictures: one example a row, [1, size, size, 1 or 3]."""

    def prepare(self, entry: Entry) -> Examples:
        """The row's picture; raises InputError naming its file."""
        pixels, notes = stored_picture(entry.path, self.preparation)
        channels = pixels if self.preparation.colour else pixels[..., None]
        return Examples(channels[None], np.zeros(1, np.int32), {}, Window(0.0, 255.0), notes)

    def contract(self) -> Contract:
        """`pictures_contract`."""
        steps = self.preparation.to_json()
        return pictures_contract(self.schema, self.preparation, steps, Split(), self.description)


def open_table(spec: PicturesSpec, cohort: CohortSpec, schema: Schema) -> TablePictures:
    """The source of table spec.root. cohort: how its columns are read (`table_spec`).

    Raises InputError for what `read_cohort` refuses.
    """
    found = read_cohort(cohort, schema)
    return TablePictures(found, spec, schema, f"pictures: {found.table}")


def table_spec(root: str, given: dict[str, object]) -> CohortSpec:
    """Section `cohort` of a config as the one of table `root`; unnamed columns are `file`, and the first of GROUPS."""
    path = Path(root).expanduser()
    if not path.is_file():
        raise InputError(root, "pictures.root", "no such file", "a table of pictures, CSV or TSV")
    header, _ = read_table(path)
    columns = dict(given.get("columns") or {})  # type: ignore[call-overload]
    if not given.get("file_pattern"):
        columns.setdefault("scan", columns.setdefault("file", "file"))  # rows of a group are no repeats of one
    if "person" not in columns:
        own = next((name for name in GROUPS if name in header), None)
        if own is None:
            expected = "a column of people, or of groups of near copies: cohort.columns.person=COLUMN"
            raise InputError(path, "group", f"columns {', '.join(header[:12])}", expected)
        columns["person"] = own
    where = {"layout": "table", "root": str(path.parent), "table": path.name}
    return CohortSpec(**{**given, **where, "columns": columns})  # type: ignore[arg-type]


def stored_picture(path: Path, spec: PicturesSpec) -> tuple[UInt8[np.ndarray, "size size *colours"], tuple[str, ...]]:
    """(the picture as it is stored, steps that were not done); raises InputError naming the file."""
    if spec.colour:
        return to_square(_in_window(path, read_colour(path), spec.window), spec.prep.size), ()
    result = prepare_picture(_in_window(path, read_grey(path), spec.window), spec.prep)
    if result.failed and spec.prep.on_failure != "keep":
        raise InputError(path, "preparation", "; ".join(result.failed), "pictures.on_failure=keep")
    return result.pixels, result.failed


def _in_window(path: Path, pixels: np.ndarray, window: tuple[float, ...]) -> np.ndarray:
    if pixels.dtype != np.uint8 and not window:
        low, high = float(pixels.min()), float(pixels.max())
        found = f"more than 8 bits, {low:.3g} to {high:.3g} of full scale"
        raise InputError(path, "depth", found, "what is black and what white: pictures.window=(LOW,HIGH)")
    if not window:
        return pixels
    unit = (to_unit(pixels) - window[0]) / (window[1] - window[0])
    return np.rint(255 * np.clip(unit, 0, 1)).astype(np.uint8)
