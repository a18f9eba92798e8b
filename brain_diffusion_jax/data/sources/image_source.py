"""Pictures without geometry, as a source of shards (contract kind "pictures").

The group of an image is its group of near copies, so that a split keeps copies on one side.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from brain_diffusion_jax import __version__
from brain_diffusion_jax.contract import Contract, Fit, Intensity, Split
from brain_diffusion_jax.covariates import Categorical, Schema
from brain_diffusion_jax.data.prepare.intensity import Window
from brain_diffusion_jax.data.prepare.picture_prep import PicturePrep, prepare_picture
from brain_diffusion_jax.data.sources import near_duplicates
from brain_diffusion_jax.data.sources.pictures import Picture, PictureSource, read_source
from brain_diffusion_jax.data.sources.source import Entry, Examples
from brain_diffusion_jax.errors import InputError, require_one_of


@dataclass(frozen=True)
class PicturesSpec:
    """PicturesSpec(**config.pictures). root: a folder of classes, an .npz, or a table of pictures (.csv, .tsv).

    Of classes: covariate is the class's name; near_duplicate: correlation above which images are copies; copies:
    keep_one, or same_side (all stay, on one side of the split); classes: those to take (default: all of the covariate).
    Of a table (`table_pictures`): colour: RGB, three channels; window: low and high share of full scale that become
    black and white, which more than 8 bits need. bad_pictures: refuse, or drop. prep: see PicturePrep.
    """

    root: str = ""
    covariate: str = "class"
    classes: tuple[str, ...] = ()
    bad_pictures: str = "refuse"
    near_duplicate: float = 0.97
    copies: str = "keep_one"
    colour: bool = False
    window: tuple[float, ...] = ()
    prep: PicturePrep = field(default_factory=PicturePrep, metadata={"config": "inline"})

    @classmethod
    def from_config(cls, section: dict[str, Any]) -> PicturesSpec:
        """From a flat config section; keys of PicturePrep go there."""
        inner = {k: v for k, v in section.items() if k in PicturePrep.__dataclass_fields__}
        outer = {k: v for k, v in section.items() if k not in inner}
        return cls(**outer, prep=PicturePrep(**inner))

    def __post_init__(self) -> None:
        if not self.root:
            raise InputError("config", "pictures.root", "nothing", "pictures.root=FOLDER, FILE.npz or TABLE.tsv")
        require_one_of(self.copies, ("keep_one", "same_side"), "pictures", "copies")
        require_one_of(self.bad_pictures, ("refuse", "drop"), "pictures", "bad_pictures")
        object.__setattr__(self, "classes", tuple(self.classes))
        object.__setattr__(self, "window", tuple(float(v) for v in self.window))
        if self.window and not (len(self.window) == 2 and 0 <= self.window[0] < self.window[1] <= 1):
            raise InputError("pictures", "window", self.window, "two shares of full scale, 0 <= low < high <= 1")
        if (self.colour or self.window) and not self.is_table:
            given = "colour" if self.colour else "window"
            raise InputError("pictures", given, getattr(self, given), "a table of pictures: pictures.root=TABLE.tsv")
        if self.colour and (self.prep.crop or self.prep.tilt):
            raise InputError("pictures", "crop, tilt", "a step for grey heads", "neither with pictures.colour")

    @property
    def is_table(self) -> bool:
        """Whether root is a table of pictures."""
        return Path(self.root).suffix.lower() in (".csv", ".tsv")

    @property
    def drop_bad(self) -> bool:
        """As bad_pictures says."""
        return self.bad_pictures == "drop"

    @property
    def expected(self) -> str:
        """What a file is."""
        return "a picture"

    def to_json(self) -> dict[str, Any]:
        """All that decides the stored pixels of a picture of a table."""
        return {**self.prep.to_json(), "colour": self.colour, "window": list(self.window)}


@dataclass(frozen=True)
class ImageSource:
    """The `Source` of prepared images. pixels: id -> [size, size]; notes: leaks, copies and failed steps."""

    where: Path
    dropped: Sequence[tuple[str, str]]
    notes: Sequence[str]
    pixels: Mapping[str, UInt8[np.ndarray, "size size"]]
    kept: Sequence[Entry]
    spec: PicturesSpec
    schema: Schema
    drop_bad: bool = False

    def entries(self) -> Sequence[Entry]:
        """One entry an image."""
        return self.kept

    def part_name(self, entry: Entry) -> str:
        """The hash of the prepared pixels."""
        content = self.pixels[entry.id]
        return hashlib.sha256(f"{entry.id}\n{content.shape}".encode() + content.tobytes()).hexdigest()[:32] + ".npz"

    def prepare(self, entry: Entry) -> Examples:
        """One image [1, size, size, 1]."""
        images = self.pixels[entry.id][None, ..., None]
        return Examples(images, np.zeros(1, np.int32), {}, Window(0.0, 255.0))

    def contract(self) -> Contract:
        """`pictures_contract`; the split keeps copies on one side."""
        split = Split(more={"copies": self.spec.copies, "near_duplicate": self.spec.near_duplicate})
        return pictures_contract(self.schema, self.spec, self.spec.prep.to_json(), split, f"pictures: {self.where}")


def pictures_contract(
    schema: Schema, spec: PicturesSpec, steps: Mapping[str, Any], split: Split, source: str
) -> Contract:
    """Kind "pictures": no grid, no slices. steps: all that decides the stored pixels."""
    return Contract(
        schema=schema,
        image_size=(spec.prep.size, spec.prep.size),
        channels=3 if spec.colour else 1,
        kind="pictures",
        orientation="",
        display="as found",
        fit=Fit(more=dict(steps)),
        intensity=Intensity("fixed", 0.0, 255.0, "uint8"),
        split=split,
        source=source,
        package_version=__version__,
    )


def open_images(spec: PicturesSpec, schema: Schema) -> ImageSource:
    """Read the images, find copies, check labels against the schema, do the steps; every omission is listed.

    Raises InputError as `pictures.read_source` does, for classes that the schema does not know, and for a
    failed step where pictures.on_failure is "refuse".
    """
    source = read_source(spec.root, bad_pictures=spec.bad_pictures)
    pictures = _of_wanted_classes(source, spec, schema)
    copies = near_duplicates.find(pictures, spec.near_duplicate)
    notes = [str(leak) for leak in near_duplicates.leaks(pictures, copies)]
    near, exact = (len(pictures) - len(set(groups.tolist())) for groups in (copies.group, copies.exact))
    if near:
        notes.append(
            f"{near} of {len(pictures)} pictures are copies ({exact} with equal pixels); "
            + spec.copies.replace("_", " ")
        )
    dropped = list(source.failures)
    positions = list(range(len(pictures)))
    if spec.copies == "keep_one":
        positions, gone = near_duplicates.keep_one(pictures, copies)
        dropped += gone
    entries, pixels, failed = [], {}, []
    for position in positions:
        picture = pictures[position]
        result = prepare_picture(picture.pixels, spec.prep)
        failed += [(picture.name, reason) for reason in result.failed]
        if result.failed and spec.prep.on_failure == "drop":
            dropped.append((picture.name, f"preparation: {'; '.join(result.failed)}"))
            continue
        path = source.where / picture.name if source.where.is_dir() else source.where
        group = f"group-{int(copies.group[position]):06d}"
        entries.append(Entry(picture.name, group, {spec.covariate: picture.label}, path))
        pixels[picture.name] = result.pixels
    if failed and spec.prep.on_failure == "refuse":
        shown = "; ".join(f"{name}: {reason}" for name, reason in failed[:5])
        raise InputError(source.where, "preparation", f"{len(failed)} failures ({shown})", "pictures.on_failure=keep")
    notes += [f"{name}: {reason}" for name, reason in failed]
    return ImageSource(source.where, tuple(dropped), tuple(notes), pixels, tuple(entries), spec, schema)


def _of_wanted_classes(source: PictureSource, spec: PicturesSpec, schema: Schema) -> list[Picture]:
    covariate = schema[spec.covariate]
    if not isinstance(covariate, Categorical):
        raise InputError("config", f"covariate {spec.covariate}", "a number", "categories")
    wanted = spec.classes or covariate.values
    unknown = sorted(set(wanted) - set(source.labels))
    strange = sorted(set(source.labels) - set(covariate.values)) if not spec.classes else []
    if unknown or strange:
        found = f"classes {', '.join(source.labels)}"
        raise InputError(source.where, f"covariate {spec.covariate}", found, ", ".join(wanted))
    return [p for p in source.pictures if p.label in wanted]
