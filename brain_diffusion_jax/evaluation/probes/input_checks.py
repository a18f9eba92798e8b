"""Real images against what an age run knows of its own inputs; and how a run comes to know it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from brain_diffusion_jax.contract import Contract
from brain_diffusion_jax.data.shards.reader import load_manifest, open_split
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation.probes import input_profile
from brain_diffusion_jax.evaluation.probes.input_profile import RATE, Departure, load_profile
from brain_diffusion_jax.pixels import to_unit

UNCHECKED = "not checked against the scans it was trained on (no input_profile.npz in the run)"


class FeatureModel(Protocol):
    """The opened run of a network that reads images. path: of the run."""

    path: Path

    def features(self, images: Any) -> np.ndarray:
        """Pooled features [n, d] of images [n, rows, cols, c] in [0, 1]."""
        ...


def write_profile(model: FeatureModel, shards: str) -> bool:
    """Write the input profile of a run from its training and validation scans; False where these are too few.

    A profile is of slices: False for volumes, too.
    """
    if len(Contract.load(shards).image_size) != 2:
        return False
    splits = [name for name in ("train", "validation") if name in load_manifest(shards)["splits"]]
    known = (
        input_profile.KnownScan(person, images, indices, model.features(to_unit(images)), held_out=split != "train")
        for split in splits
        for person, _, images, indices in scans_of(shards, split, input_profile.MOST)
    )
    profile = input_profile.make_profile(known)
    if profile is not None:
        profile.save(model.path)
    return profile is not None


def scans_of(shards: str, split: str, most: int | None = None) -> Iterator[tuple[str, str, Any, list[int]]]:
    """(person, scan, stored images [n, rows, cols, 1], slice indices) of up to `most` evenly spaced scans."""
    source = open_split(shards, split)
    positions: dict[tuple[str, str], list[int]] = {}
    for position in range(len(source)):
        item = source[position]
        positions.setdefault((item["person"], item["scan"]), []).append(position)
    keys = sorted(positions)
    if most is not None and len(keys) > most:
        keys = [keys[i] for i in np.linspace(0, len(keys) - 1, most).astype(int)]
    for key in keys:
        items = sorted((source[p] for p in positions[key]), key=lambda item: item["slice_index"])
        yield *key, np.stack([item["image"] for item in items]), [item["slice_index"] for item in items]


def unlike(model: FeatureModel, images: Any, indices: list[int]) -> list[Departure] | None:
    """How one scan's images are unlike the known ones; None where the run has no profile."""
    profile = load_profile(model.path)
    return None if profile is None else profile.depart(images, indices, model.features(to_unit(images)))


def check_shards(model: FeatureModel, shards: str, split: str, most: int = 200) -> str | None:
    """A note about the real scans that a regressor is to be measured on; None where all is as expected.

    Raises InputError where more than half of them are unlike what it was trained on: its ages mean nothing there.
    """
    if load_profile(model.path) is None:
        return f"{model.path} has no input profile: whether the real scans are like its own is not checked."
    scans, unlike_ones = 0, []
    for _, scan, images, indices in scans_of(shards, split, most):
        scans += 1
        departures = unlike(model, images, indices)
        if departures:
            unlike_ones.append(f"{scan}: {departures[0]}")
    if not unlike_ones:
        return None
    count = len(unlike_ones)
    said = f"{count} of {scans} real scans ({split}) are unlike those it was trained on, such as {unlike_ones[0]}"
    if 2 * count > scans:
        raise InputError(model.path, "inputs", said, f"scans prepared and acquired as its own ({RATE:.0%} unlike)")
    return f"{model.path}: {said}. Its ages of these mean little; about {RATE:.0%} of good scans are named so too."
