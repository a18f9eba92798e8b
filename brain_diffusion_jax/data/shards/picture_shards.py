"""Pictures without geometry as shards: the same builder, loader and contract as slices (kind "pictures").

A picture's "person" is its group of near copies, so that the split by person keeps copies on one side.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from brain_diffusion_jax import __version__
from brain_diffusion_jax.contract import Contract, Fit, Intensity
from brain_diffusion_jax.covariates import Categorical, Schema
from brain_diffusion_jax.data.prepare import pipeline
from brain_diffusion_jax.data.prepare.intensity import Window
from brain_diffusion_jax.data.prepare.picture_prep import PicturePrep, prepare_picture
from brain_diffusion_jax.data.shards import splits, writer
from brain_diffusion_jax.data.sources import near_duplicates
from brain_diffusion_jax.data.sources.cohort import Cohort, Scan
from brain_diffusion_jax.data.sources.pictures import Picture, PictureSource, read_source
from brain_diffusion_jax.errors import InputError


@dataclass(frozen=True)
class PicturesSpec:
    """PicturesSpec(**config.pictures). root: a folder of classes or an .npz; covariate: the class's name.

    near_duplicate: correlation above which pictures are copies. copies: keep_one, or same_side (all stay,
    on one side of the split). classes: those to take (default: all of the covariate). prep: see PicturePrep.
    """

    root: str = ""
    covariate: str = "class"
    classes: tuple[str, ...] = ()
    bad_pictures: str = "refuse"
    near_duplicate: float = 0.97
    copies: str = "keep_one"
    prep: PicturePrep = field(default_factory=PicturePrep)

    @classmethod
    def from_config(cls, section: dict[str, Any]) -> PicturesSpec:
        """From a flat config section; keys of PicturePrep go there."""
        inner = {k: v for k, v in section.items() if k in PicturePrep.__dataclass_fields__}
        outer = {k: v for k, v in section.items() if k not in inner}
        return cls(**{**outer, "classes": tuple(outer.get("classes", ()))}, prep=PicturePrep(**inner))

    def __post_init__(self) -> None:
        if not self.root:
            raise InputError("config", "pictures.root", "nothing", "pictures.root=FOLDER or FILE.npz")
        if self.copies not in ("keep_one", "same_side"):
            raise InputError("pictures", "copies", self.copies, "keep_one or same_side")


class Prepared(NamedTuple):
    """scans and their pictures [size, size], dropped (name, reason), and lines to tell the user."""

    scans: list[Scan]
    pixels: list[np.ndarray]
    dropped: list[tuple[str, str]]
    remarks: list[str]


def prepare_pictures(source: PictureSource, spec: PicturesSpec, schema: Schema) -> Prepared:
    """Copies found, steps done, labels checked against the schema; every omission and failure listed."""
    covariate = schema[spec.covariate]
    if not isinstance(covariate, Categorical):
        raise InputError("config", f"covariate {spec.covariate}", "a number", "categories")
    wanted = spec.classes or covariate.values
    unknown = sorted(set(wanted) - set(source.labels))
    strange = sorted(set(source.labels) - set(covariate.values)) if not spec.classes else []
    if unknown or strange:
        raise InputError(
            source.where, f"covariate {spec.covariate}", f"classes {', '.join(source.labels)}", ", ".join(wanted)
        )
    pictures = [p for p in source.pictures if p.label in wanted]
    copies = near_duplicates.find(pictures, spec.near_duplicate)
    found = near_duplicates.summary(pictures, copies)
    remarks = [str(leak) for leak in near_duplicates.leaks(pictures, copies)]
    if found["near_redundant"]:
        remarks.append(
            f"{found['near_redundant']} of {found['pictures']} pictures are copies "
            f"({found['exact_redundant']} with equal pixels); {spec.copies.replace('_', ' ')}"
        )
    dropped = list(source.failures)
    positions = list(range(len(pictures)))
    if spec.copies == "keep_one":
        positions, gone = near_duplicates.keep_one(pictures, copies)
        dropped += gone
    scans, pixels, failed = [], [], []
    for position in positions:
        picture = pictures[position]
        result = prepare_picture(picture.pixels, spec.prep)
        failed += [(picture.name, reason) for reason in result.failed]
        if result.failed and spec.prep.on_failure == "drop":
            dropped.append((picture.name, f"preparation: {'; '.join(result.failed)}"))
            continue
        scans.append(_scan(picture, int(copies.group[position]), spec.covariate, source.where))
        pixels.append(result.pixels)
    if failed and spec.prep.on_failure == "refuse":
        shown = "; ".join(f"{name}: {reason}" for name, reason in failed[:5])
        raise InputError(source.where, "preparation", f"{len(failed)} failures ({shown})", "pictures.on_failure=keep")
    remarks += [f"{name}: {reason}" for name, reason in failed]
    return Prepared(scans, pixels, dropped, remarks)


def _scan(picture: Picture, group: int, covariate: str, where: Path) -> Scan:
    path = where / picture.name if where.is_dir() else where
    return Scan(f"group-{group:06d}", picture.name, path, {covariate: picture.label})


def write_picture_shards(
    folder: str | Path,
    spec: PicturesSpec,
    split: splits.SplitSpec,
    schema: Schema,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Contract, list[str]]:
    """Read, check, prepare and write the pictures; returns the contract and what the user should know.

    Raises InputError as `pictures.read_source` and `shards.write_shards` do.
    """
    folder = Path(folder)
    if split.unit == "slice":
        raise InputError("split", "unit", "slice", "person: a picture's person is its group of copies")
    source = read_source(spec.root, bad_pictures=spec.bad_pictures)
    with writer.working_folder(folder) as work:
        prepared = prepare_pictures(source, spec, schema)
        entries = []
        for number, (scan, pixels) in enumerate(zip(prepared.scans, prepared.pixels, strict=True)):
            name = f"{number:06d}.npz"
            pipeline.save_part(
                work / "parts" / name,
                pipeline.PreparedScan(pixels[None], [0], [0.0], Window(0.0, 255.0), pixels.shape, []),
            )
            entries.append((scan, name))
            if progress is not None:
                progress(number + 1, len(prepared.scans))
        cohort = Cohort(tuple(prepared.scans), tuple(prepared.dropped), source.where)
        size = (spec.prep.size, spec.prep.size)
        plan = {
            "engine": "local",
            "parts": str((work / "parts").resolve()),
            "schema": schema.to_json(),
            "split": asdict(split),
            "bad_scans": "refuse",
            "image_size": list(size),
            "dtype": "uint8",
            "splits": writer.split_entries(entries, split, schema, source.where),
        }
        writer.build(folder, plan, None)
        contract = Contract(
            schema=schema,
            image_size=size,
            kind="pictures",
            orientation="",
            display="as found",
            fit=Fit(more=spec.prep.to_json()),
            intensity=Intensity("fixed", 0.0, 255.0, "uint8"),
            split=replace(split.section(), more={"copies": spec.copies, "near_duplicate": spec.near_duplicate}),
            source=f"pictures: {source.where}",
            package_version=__version__,
        )
        return writer.finish(folder, work, contract, split, cohort, list(prepared.dropped)), prepared.remarks


def warn(remarks: Sequence[str], shown: int = 20) -> None:
    """One warning a remark, the rest counted."""
    for remark in remarks[:shown]:
        warnings.warn(remark, stacklevel=2)
    if len(remarks) > shown:
        warnings.warn(f"and {len(remarks) - shown} more remarks of this kind", stacklevel=2)
