"""A set of pictures with what is known of each: its condition and its person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from brain_diffusion_jax.covariates import Categorical, Condition, Continuous, Covariate, Schema
from brain_diffusion_jax.data.sources.picture_file import picture_paths, read_stack
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation.metrics.ssim import check_pictures

DIM = 1 / 8  # deep pictures of which none is brighter hold 12 bits in 16, or another unit


@dataclass(frozen=True)
class PictureSet:
    """images: uint8 or unit floats [n, rows, cols]; conditions: dicts of covariates; people: ids."""

    images: np.ndarray = field(repr=False)
    conditions: Sequence[Mapping[str, Any]] = field(repr=False)
    people: Sequence[str] = field(repr=False)

    def __post_init__(self) -> None:
        if self.images.ndim == 4 and self.images.shape[-1] == 1:
            object.__setattr__(self, "images", self.images[..., 0])
        if not len(self.images) == len(self.conditions) == len(self.people):
            raise InputError(
                "picture set",
                "lengths",
                f"{len(self.images)} pictures, {len(self.conditions)} conditions, {len(self.people)} people",
                "one condition and one person for each picture",
            )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows: np.ndarray) -> PictureSet:
        rows = np.asarray(rows)
        return PictureSet(self.images[rows], [self.conditions[i] for i in rows], [self.people[i] for i in rows])

    @property
    def size(self) -> tuple[int, int]:
        return self.images.shape[1], self.images.shape[2]

    @property
    def unit(self) -> np.ndarray:
        """float32 [n, rows, cols] in [0, 1]."""
        return check_pictures(self.images)

    def column(self, name: str) -> np.ndarray:
        """Values of one covariate; None where a picture has none (object array then)."""
        values = [condition.get(name) for condition in self.conditions]
        return np.array(values, object) if None in values else np.array(values)

    def has(self, name: str) -> bool:
        return len(self) > 0 and all(condition.get(name) is not None for condition in self.conditions)

    def varies(self, name: str) -> bool:
        return self.has(name) and len(set(self.column(name).tolist())) > 1


def check(pictures: PictureSet, where: str) -> PictureSet:
    """Refuses an empty set, NaN, pictures out of range."""
    if len(pictures) == 0:
        raise InputError(where, "pictures", "an empty set", "at least one picture")
    check_pictures(pictures.images, where)
    return pictures


def schema_of(pictures: PictureSet) -> Schema:
    """What the conditions themselves tell: numbers without a unit, words, in the order in which they come."""
    covariates: list[Covariate] = []
    for name in dict.fromkeys(name for condition in pictures.conditions for name in condition):
        values = [v for v in (c.get(name) for c in pictures.conditions) if v is not None]
        if all(isinstance(v, int | float | np.number) for v in values) and values:
            low, high = float(min(values)), float(max(values))
            covariates.append(Continuous(name, "", low, high if high > low else low + 1))
        elif values:
            covariates.append(Categorical(name, tuple(sorted({str(v) for v in values}))))
    return Schema(tuple(covariates))


def require_same_size(a: PictureSet, b: PictureSet, where: str) -> None:
    if a.size != b.size:
        raise InputError(where, "picture size", b.size, a.size)


def from_records(records: Mapping[str, Any], schema: Schema) -> PictureSet:
    """A set from what `data.shards.loader.read_all` gives: images, values, present, person."""
    conditions = schema.decode(Condition(records["values"], records["present"]))
    people = [p.decode() if isinstance(p, bytes) else str(p) for p in records["person"]]
    return PictureSet(np.asarray(records["image"]), conditions, people)


def read_folder(folder: str | Path) -> PictureSet:
    """A set from a sample folder (conditions from its manifest) or from plain pictures below a folder."""
    from brain_diffusion_jax.data.sample_folder import MANIFEST, read_pictures

    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(folder, "folder", "no such folder", "a folder of pictures")
    if (folder / MANIFEST).exists():
        images, rows = read_pictures(folder)
        fixed = ("file", "index", "seed", "guidance_scale")
        conditions = [{k: _number(v) for k, v in row.items() if k not in fixed and v != ""} for row in rows]
        return PictureSet(images, conditions, [str(i) for i in range(len(images))])
    paths = picture_paths(folder)
    if not paths:
        raise InputError(folder, "pictures", "an empty set", "PNG, JPEG, TIFF or BMP pictures")
    images = read_stack(paths)
    if images.dtype != np.uint8 and images.max() < DIM:
        found = f"deep pictures no brighter than {float(images.max()):.3g} of full scale"
        raise InputError(folder, "depth", found, "values that fill their depth (12 bits in 16? multiply them by 16)")
    return PictureSet(images, [{}] * len(images), [str(p.relative_to(folder)) for p in paths])


def _number(word: str) -> float | str:
    try:
        return float(word)
    except ValueError:
        return word
