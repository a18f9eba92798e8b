"""Pictures without geometry: one folder per class, or an .npz; every picture ends as grey uint8.

A folder source is ROOT/CLASS/*.{jpg,jpeg,png}, or ROOT/SPLIT/CLASS/*.jpg as published sets often come; then
`given_split` remembers the split, so that leaks between the splits can be reported.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from brain_diffusion_jax.data.sources.picture_file import picture_paths, read_grey
from brain_diffusion_jax.errors import InputError, require_one_of

SUFFIXES = (".jpg", ".jpeg", ".png")
MIN_SIDE = 16  # pixels; less shows nothing
MIN_PER_CLASS = 2  # one to learn from, one to check on


@dataclass(frozen=True)
class Picture:
    """name: unique in its source; label: word of the class; pixels: as found, any size."""

    name: str
    label: str
    pixels: UInt8[np.ndarray, "rows cols"] = field(repr=False)
    given_split: str = ""


class PictureSource(NamedTuple):
    """pictures in order of name; failures: (name, reason) of those left out; where: for messages."""

    pictures: list[Picture]
    failures: list[tuple[str, str]]
    where: Path

    @property
    def labels(self) -> tuple[str, ...]:
        """Words of the classes, in order."""
        return tuple(sorted({p.label for p in self.pictures}))


def read_picture(path: str | Path) -> UInt8[np.ndarray, "rows cols"]:
    """`read_grey` of a picture to train on: 8 bits, no side under MIN_SIDE; InputError for anything else."""
    pixels = read_grey(path)
    rows, cols = pixels.shape
    if min(rows, cols) < MIN_SIDE:
        raise InputError(path, "size", f"{cols} x {rows} pixels", f"at least {MIN_SIDE} on each side")
    if pixels.dtype != np.uint8:
        raise InputError(path, "depth", "16 bits or floats", "8 bits; choose a window and convert it")
    return pixels


def read_folder(root: str | Path, *, bad_pictures: str = "refuse") -> PictureSource:
    """ROOT/CLASS/files or ROOT/SPLIT/CLASS/files. bad_pictures: refuse, or drop (and list in `failures`).

    Raises InputError for an empty folder or class, and for a class with fewer than MIN_PER_CLASS pictures.
    """
    root = Path(root)
    require_one_of(bad_pictures, ("refuse", "drop"), "pictures", "bad_pictures")
    if not root.is_dir():
        raise InputError(root, "pictures.root", "no such folder", "a folder of class folders")
    folders = _class_folders(root)
    pictures: list[Picture] = []
    failures: list[tuple[str, str]] = []
    for split, folder in folders:
        files = picture_paths(folder, "*", SUFFIXES)
        if not files:
            raise InputError(folder, "class folder", "no .jpg, .jpeg or .png", "pictures of the class; or remove it")
        for path in files:
            name = str(path.relative_to(root))
            try:
                pictures.append(Picture(name, folder.name, read_picture(path), split))
            except InputError as error:
                failures.append((name, f"{error.field}: {error.found}"))
    if failures and bad_pictures == "refuse":
        found = f"{len(failures)} unusable ({'; '.join(f'{name}: {reason}' for name, reason in failures[:5])})"
        raise InputError(root, "pictures", found, "8-bit grey pictures, or pictures.bad_pictures=drop")
    source = PictureSource(pictures, failures, root)
    _require_classes(source, {folder.name for _, folder in folders})
    return source


def _class_folders(root: Path) -> list[tuple[str, Path]]:
    inner = sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not inner:
        raise InputError(root, "pictures.root", "no folders in it", "ROOT/CLASS/*.jpg or ROOT/SPLIT/CLASS/*.jpg")
    nested = [p for p in inner if any(q.is_dir() for q in p.iterdir())]
    if not nested:
        return [("", folder) for folder in inner]
    if len(nested) != len(inner):
        flat = sorted(p.name for p in set(inner) - set(nested))
        raise InputError(root, "layout", f"{flat} without class folders, others with", "one layout for all folders")
    return [(split.name, folder) for split in inner for folder in sorted(split.iterdir()) if folder.is_dir()]


def read_npz(path: str | Path) -> PictureSource:
    """Arrays images uint8 [n, rows, cols], label (int index into label_names, or words), [label_names, source_file]."""
    path = Path(path)
    try:
        with np.load(path, allow_pickle=False) as items:
            arrays: dict[str, Any] = {name: items[name] for name in items.files}
    except FileNotFoundError:
        raise InputError(path, "pictures.root", "no such file", "an .npz file") from None
    except Exception as error:  # ValueError, OSError, BadZipFile, EOFError
        raise InputError(path, "file", f"{type(error).__name__}: {error}", "an .npz without pickled objects") from error
    for name in ("images", "label"):
        if name not in arrays:
            raise InputError(path, name, f"arrays {sorted(arrays)}", "arrays images and label")
    images, label = arrays["images"], arrays["label"]
    if images.dtype != np.uint8 or images.ndim != 3 or min(images.shape[1:]) < MIN_SIDE:
        raise InputError(path, "images", f"{images.dtype} {images.shape}", "uint8 [n, rows, cols]")
    if label.shape != (len(images),):
        raise InputError(path, "label", label.shape, (len(images),))
    words = arrays.get("label_names")
    if words is not None and np.issubdtype(label.dtype, np.integer):
        if label.min() < 0 or label.max() >= len(words):
            raise InputError(path, "label", f"{label.min()} to {label.max()}", f"0 to {len(words) - 1}")
        label = words[label]
    names = arrays.get("source_file", np.array([f"{i:06d}" for i in range(len(images))]))
    repeated = [name for name, count in Counter(names.tolist()).items() if count > 1]
    if repeated:
        raise InputError(path, "source_file", f"{repeated[:3]} more than once", "one name for one picture")
    pictures = [Picture(str(n), str(w), p) for n, w, p in zip(names, label, images, strict=True)]
    pictures.sort(key=lambda picture: picture.name)
    source = PictureSource(pictures, [], path)
    _require_classes(source, {p.label for p in pictures} | ({str(w) for w in words} if words is not None else set()))
    return source


def read_source(root: str | Path, *, bad_pictures: str = "refuse") -> PictureSource:
    """`read_npz` for a file, `read_folder` for a folder."""
    path = Path(root)
    return read_npz(path) if path.suffix == ".npz" else read_folder(path, bad_pictures=bad_pictures)


def _require_classes(source: PictureSource, expected: set[str]) -> None:
    counts = Counter(picture.label for picture in source.pictures)
    for label in sorted(expected):
        if counts[label] < MIN_PER_CLASS:
            found = f"{counts[label]} usable picture{'s' * (counts[label] != 1)}"
            enough = f"at least {MIN_PER_CLASS}; add pictures or remove the class"
            raise InputError(source.where, f"class {label}", found, enough)
