"""Copies in a set of images, found before splitting: equal pixels, then high correlation that is the pictures' own.

A copy on both sides of a split makes memory look like skill. Images of one kind correlate by what all of them show,
as the bright disc of every retina: so pairs are confirmed by what is left without the set's first principal components.
`find` groups copies; `leaks` says how many images of one given split have a copy in another.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8

from brain_diffusion_jax.data.sources.pictures import Picture
from brain_diffusion_jax.errors import InputError

THUMBNAIL = 64
_BLOCK = 512
# Of 519 ultrasound pictures, copies have 0.73 and more without 24 components; of 1145 eyes, 99 % of pairs below 0.47.
OWN_CORRELATION, MOST_COMPONENTS, PICTURES_PER_COMPONENT = 0.6, 24, 40


class Copies(NamedTuple):
    """group, exact: of each image, the number of its group of near copies and of equal pixels.

    Groups are numbered by their first image. conflicting: groups whose images carry several labels.
    """

    group: Int[np.ndarray, " n"]
    exact: Int[np.ndarray, " n"]
    conflicting: frozenset[int]


def thumbnails(pictures: Sequence[UInt8[np.ndarray, "rows cols"]]) -> Float[np.ndarray, "n d"]:
    """Each image stretched to 64x64, mean 0 and length 1, so that products are correlations."""
    from PIL import Image

    size = (THUMBNAIL, THUMBNAIL)
    rows = np.stack(
        [np.asarray(Image.fromarray(p).resize(size, Image.Resampling.BOX), np.float32).ravel() for p in pictures]
    )
    rows -= rows.mean(1, keepdims=True)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)


def individual(rows: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    """`rows` without their mean and first principal components, length 1: what an image does not share with the others.

    A component for every PICTURES_PER_COMPONENT images, so that a few copies are none; at most MOST_COMPONENTS.
    """
    own = rows - rows.mean(0)
    count = min(MOST_COMPONENTS, len(rows) // PICTURES_PER_COMPONENT)
    _, directions = np.linalg.eigh(own.T @ own)
    shared = directions[:, directions.shape[1] - count :]
    own -= (own @ shared) @ shared.T
    return own / np.maximum(np.linalg.norm(own, axis=1, keepdims=True), 1e-6)


def find(pictures: Sequence[Picture], correlation: float = 0.97) -> Copies:
    """Groups of copies: everything joined by pairs that correlate above `correlation` and are copies by their own.

    Own correlation (`individual`) is asked for in sets of PICTURES_PER_COMPONENT images and more: fewer do not say
    what all share.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not 0 < correlation <= 1:
        raise InputError("pictures", "near_duplicate", correlation, "a correlation above 0, at most 1")
    count = len(pictures)
    seen: dict[tuple[tuple[int, ...], bytes], int] = {}
    keys = ((p.pixels.shape, hashlib.sha256(p.pixels.tobytes()).digest()) for p in pictures)
    exact = np.array([seen.setdefault(key, i) for i, key in enumerate(keys)], int)
    first, second = [np.arange(count)], [exact]
    rows = thumbnails([p.pixels for p in pictures])
    own = individual(rows) if count >= PICTURES_PER_COMPONENT else None
    for start in range(0, count, _BLOCK):
        block = slice(start, start + _BLOCK)
        alike = rows[block] @ rows[start:].T > correlation
        if own is not None and alike.any():
            alike &= own[block] @ own[start:].T > OWN_CORRELATION
        a, b = np.nonzero(alike)
        first.append(a + start)
        second.append(b + start)
    i, j = np.concatenate(first), np.concatenate(second)
    _, group = connected_components(coo_array((np.ones(len(i), bool), (i, j)), shape=(count, count)), directed=False)
    words: dict[int, set[str]] = defaultdict(set)
    for number, picture in zip(_by_first(group).tolist(), pictures, strict=True):
        words[number].add(picture.label)
    conflicting = frozenset(number for number, labels in words.items() if len(labels) > 1)
    return Copies(_by_first(group), _by_first(exact), conflicting)


def _by_first(labels: np.ndarray) -> np.ndarray:
    _, where, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(where))[inverse]


class Leak(NamedTuple):
    """Of `pictures` in split `checked`, how many have an exact or near copy in split `other`."""

    checked: str
    other: str
    pictures: int
    exact: int
    near: int

    def __str__(self) -> str:
        return (
            f"{self.near} of {self.pictures} pictures in {self.checked!r} have a copy in {self.other!r} "
            f"({self.exact} with equal pixels): numbers on that split measure memory"
        )


def leaks(pictures: Sequence[Picture], copies: Copies) -> list[Leak]:
    """Leaks between the splits that the images came with; empty where they came without."""
    names = sorted({p.given_split for p in pictures} - {""}, key=lambda n: -sum(p.given_split == n for p in pictures))
    found = []
    split = np.array([p.given_split for p in pictures])
    for number, checked in enumerate(names):
        for other in names[:number]:  # smaller splits against larger ones
            mine, theirs = split == checked, split == other
            exact = int(np.isin(copies.exact[mine], copies.exact[theirs]).sum())
            near = int(np.isin(copies.group[mine], copies.group[theirs]).sum())
            if near:
                found.append(Leak(checked, other, int(mine.sum()), exact, near))
    return found


def keep_one(pictures: Sequence[Picture], copies: Copies) -> tuple[list[int], list[tuple[str, str]]]:
    """(positions of one image a group, (name, reason) of the rest); groups with several labels lose all."""
    kept: list[int] = []
    dropped: list[tuple[str, str]] = []
    first: dict[int, str] = {}
    for position, (picture, group) in enumerate(zip(pictures, copies.group.tolist(), strict=True)):
        if group in copies.conflicting:
            dropped.append((picture.name, "copies carry several labels"))
        elif group in first:
            dropped.append((picture.name, f"copy: of {first[group]}"))
        else:
            first[group] = picture.name
            kept.append(position)
    return kept, dropped
