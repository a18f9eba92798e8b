"""A set of images with what is known of each: its condition and its person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped

from brain_diffusion_jax.covariates import Categorical, Condition, Continuous, Covariate, Schema
from brain_diffusion_jax.data.sources.picture_file import picture_paths, read_stack
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.pixels import to_unit

DIM = 1 / 8  # deep images of which none is brighter hold 12 bits in 16, or another unit
NOT_CONDITIONS = ("file", "index", "seed", "guidance_scale")  # columns of a manifest


def channels_last(images: Shaped[np.ndarray, "n ..."], where: object = "images") -> Shaped[np.ndarray, "n ..."]:
    """Slices [n, rows, cols, channels] or volumes [n, x, y, z, channels]; grey [n, rows, cols] gets its channel."""
    array = np.asarray(images)
    if array.ndim not in (3, 4, 5):
        raise InputError(where, "shape", array.shape, "[n, rows, cols(, channels)] or [n, x, y, z, channels]")
    return array[..., None] if array.ndim == 3 else array


def check_images(images: Shaped[np.ndarray, "n ..."], where: object = "images") -> Float[np.ndarray, "n ..."]:
    """float32 [n, *spatial, channels] in [0, 1] of uint8 or unit floats; refuses empty sets, NaN and other ranges."""
    array = channels_last(images, where)
    if not len(array):
        raise InputError(where, "images", "an empty set", "at least one image")
    array = to_unit(array)
    if not np.isfinite(array).all():
        bad = int((~np.isfinite(array)).reshape(len(array), -1).any(1).sum())
        raise InputError(where, "values", f"NaN or Inf in {bad} of {len(array)} images", "finite values")
    low, high = float(array.min()), float(array.max())
    if low < -1e-3 or high > 1 + 1e-3:
        raise InputError(where, "range", f"{low:g} to {high:g}", "uint8, or floats in [0, 1]")
    return array


@dataclass(frozen=True)
class ImageSet:
    """images: uint8 or unit floats, as `channels_last` takes them; conditions: dicts of covariates; people: ids."""

    images: np.ndarray = field(repr=False)
    conditions: Sequence[Mapping[str, Any]] = field(repr=False)
    people: Sequence[str] = field(repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "images", channels_last(self.images))
        if not len(self.images) == len(self.conditions) == len(self.people):
            lengths = f"{len(self.images)} images, {len(self.conditions)} conditions, {len(self.people)} people"
            raise InputError("image set", "lengths", lengths, "one condition and one person for each image")

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows: Int[np.ndarray, " k"]) -> ImageSet:
        rows = np.asarray(rows)
        return ImageSet(self.images[rows], [self.conditions[i] for i in rows], [self.people[i] for i in rows])

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one image: (*spatial, channels)."""
        return self.images.shape[1:]

    @property
    def is_grey_slices(self) -> bool:
        """Whether an image is one slice of one channel, [rows, cols, 1]."""
        return len(self.shape) == 3 and self.shape[-1] == 1

    @property
    def unit(self) -> Float[np.ndarray, "n ..."]:
        """float32 [n, *spatial, channels] in [0, 1]."""
        return check_images(self.images)

    def checked(self, where: str) -> ImageSet:
        """Itself; refuses an empty set, NaN, images out of range."""
        check_images(self.images, where)
        return self

    def column(self, name: str) -> np.ndarray:
        """[n] values of one covariate; None where an image has none (object array then)."""
        values = [condition.get(name) for condition in self.conditions]
        return np.array(values, object) if None in values else np.array(values)

    def has(self, name: str) -> bool:
        """Whether the covariate is known of every image."""
        return len(self) > 0 and all(condition.get(name) is not None for condition in self.conditions)

    def varies(self, name: str) -> bool:
        """Whether it is known of every image and not the same of all."""
        return self.has(name) and len(set(self.column(name).tolist())) > 1

    def schema(self) -> Schema:
        """What the conditions themselves say: numbers without a unit, words, in the order in which they come."""
        covariates: list[Covariate] = []
        for name in dict.fromkeys(name for condition in self.conditions for name in condition):
            values = [v for v in (c.get(name) for c in self.conditions) if v is not None]
            if all(isinstance(v, int | float | np.number) for v in values) and values:
                low, high = float(min(values)), float(max(values))
                covariates.append(Continuous(name, "", low, high if high > low else low + 1))
            elif values:
                covariates.append(Categorical(name, tuple(sorted({str(v) for v in values}))))
        return Schema(tuple(covariates))


def require_same_shape(a: ImageSet, b: ImageSet, where: str) -> None:
    """Raise InputError unless both hold images of one shape."""
    if a.shape != b.shape:
        raise InputError(where, "image shape", b.shape, a.shape)


def from_records(records: Mapping[str, Any], schema: Schema) -> ImageSet:
    """A set from what `data.shards.loader.read_all` gives: images, values, present, person."""
    conditions = schema.decode(Condition(records["values"], records["present"]))
    people = [p.decode() if isinstance(p, bytes) else str(p) for p in records["person"]]
    return ImageSet(np.asarray(records["image"]), conditions, people)


def read_folder(folder: str | Path) -> ImageSet:
    """A set from a sample folder (conditions from its manifest) or from plain grey images below a folder."""
    from brain_diffusion_jax.data.sample_folder import MANIFEST, read_pictures

    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(folder, "folder", "no such folder", "a folder of images")
    if (folder / MANIFEST).exists():
        images, rows = read_pictures(folder)
        conditions = [{k: _number(v) for k, v in row.items() if k not in NOT_CONDITIONS and v != ""} for row in rows]
        return ImageSet(images, conditions, [str(i) for i in range(len(images))])
    paths = picture_paths(folder)
    if not paths:
        raise InputError(folder, "images", "an empty set", "PNG, JPEG, TIFF or BMP files")
    images = read_stack(paths)
    if images.dtype != np.uint8 and images.max() < DIM:
        brightest = f"deep images no brighter than {float(images.max()):.3g} of full scale"
        raise InputError(folder, "depth", brightest, "values that fill their depth (12 bits in 16? multiply by 16)")
    return ImageSet(images, [{}] * len(images), [str(p.relative_to(folder)) for p in paths])


def _number(word: str) -> float | str:
    try:
        return float(word)
    except ValueError:
        return word
