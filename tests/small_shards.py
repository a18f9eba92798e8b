"""Shards of a few bright blobs, slices or volumes, whose size follows the age: the smallest whole data set."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from brain_diffusion_jax.contract import Contract, Grid
from brain_diffusion_jax.covariates import Categorical, Continuous, Schema
from brain_diffusion_jax.data.prepare.intensity import Window
from brain_diffusion_jax.data.shards import writer
from brain_diffusion_jax.data.shards.splits import SplitSpec
from brain_diffusion_jax.data.sources.source import Entry, Examples

SCHEMA = Schema((Continuous("age", "years", 20, 80), Categorical("sex", ("F", "M"))))


def blob(size: tuple[int, ...], age: float, seed: int = 0) -> np.ndarray:
    """uint8 [*size, 1]: an ellipsoid, larger with age, with a little texture."""
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in size), indexing="ij")
    radius = np.sqrt(sum(a**2 for a in axes))
    texture = np.random.default_rng(seed).normal(0, 0.02, size)
    image = 0.7 * (radius < 0.4 + 0.5 * (age - 20) / 60) + 0.1 * (radius < 1) + texture * (radius < 1)
    return (255 * np.clip(image, 0, 1)).astype(np.uint8)[..., None]


class Blobs:
    """A source of `count` people with one image each."""

    where, dropped, drop_bad = Path("blobs"), (), False

    def __init__(self, size: tuple[int, ...], count: int) -> None:
        self.size, self.count = size, count

    def entries(self):
        ages = np.linspace(22, 78, self.count).round()
        return [
            Entry(f"s{i:02d}", f"p{i:02d}", {"age": float(a), "sex": "FM"[i % 2]}, self.where)
            for i, a in enumerate(ages)
        ]

    def part_name(self, entry):
        return f"{entry.id}.npz"

    def prepare(self, entry):
        image = blob(self.size, float(entry.conditions["age"]), int(entry.id[1:]))
        return Examples(image[None], np.zeros(1, int), {}, Window(0.0, 255.0))

    def contract(self):
        solid = len(self.size) == 3
        affine = tuple(tuple(float(v) for v in row) for row in np.diag([4.0, 4.0, 4.0, 1.0]))
        return Contract(
            SCHEMA,
            self.size,
            kind="volumes" if solid else "pictures",
            spacing_mm=(4.0,) * len(self.size),
            grid=Grid("box", self.size, affine) if solid else Grid(),
        )


def write_blobs(folder: Path, size: tuple[int, ...] = (8, 8), count: int = 12) -> Path:
    """Shards in which two thirds of the people are in training, the rest held out."""
    split = SplitSpec(train=0.66, validation=0.17, test=0.17, seed=1)
    writer.write_shards(folder, Blobs(size, count), split)
    return folder
