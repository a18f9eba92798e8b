"""Copies are found before splitting, by pixels and by correlation."""

from __future__ import annotations

import numpy as np
from PIL import Image
from small_pictures import head

from brain_diffusion_jax.data.sources import near_duplicates
from brain_diffusion_jax.data.sources.pictures import Picture


def test_copies_are_found_by_pixels_then_correlation_and_leaks_reported():
    originals = [head(i) for i in range(6)]
    rng = np.random.default_rng(0)
    noisy = np.clip(originals[1] + rng.normal(0, 3, originals[1].shape), 0, 255).astype(np.uint8)
    larger = np.asarray(Image.fromarray(originals[2]).resize((160, 180)))
    items = [Picture(f"train/{i}", "a", p, "Training") for i, p in enumerate(originals)]
    items += [Picture(f"test/{i}", "a", p, "Testing") for i, p in enumerate([originals[0], noisy, larger, head(50)])]
    copies = near_duplicates.find(items, 0.97)
    assert copies.group.tolist() == [0, 1, 2, 3, 4, 5, 0, 1, 2, 6]
    assert copies.exact.tolist() == [0, 1, 2, 3, 4, 5, 0, 6, 7, 8]
    (leak,) = near_duplicates.leaks(items, copies)
    assert (leak.checked, leak.pictures, leak.exact, leak.near) == ("Testing", 4, 1, 3)
    kept, dropped = near_duplicates.keep_one(items, copies)
    assert kept == [0, 1, 2, 3, 4, 5, 9]
    assert len(dropped) == 3


def test_copies_with_several_labels_are_all_left_out():
    same = head(9)
    items = [Picture("a/1", "a", same), Picture("b/1", "b", same), Picture("b/2", "b", head(10))]
    kept, dropped = near_duplicates.keep_one(items, near_duplicates.find(items))
    assert kept == [2]
    assert {reason for _, reason in dropped} == {"copies carry several labels"}


def test_what_all_pictures_share_makes_no_copies():
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:64, :64] - 31.5
    disc = 160.0 * (x**2 + y**2 < 28**2)

    def eye():
        lit = disc * (1 + rng.normal(0, 0.1) * x / 32 + rng.normal(0, 0.1) * y / 32)
        return np.clip(lit + 6 * rng.normal(size=disc.shape), 0, 255).astype(np.uint8)

    eyes = [eye() for _ in range(80)]
    brighter = [np.clip(eyes[i] * 1.1 + 2, 0, 255).astype(np.uint8) for i in (3, 70)]
    items = [Picture(f"{i:03d}", "a", p) for i, p in enumerate([*eyes, *brighter])]
    rows = near_duplicates.thumbnails([item.pixels for item in items])
    alike = np.triu(rows @ rows.T > 0.97, 1).sum()
    assert alike > 1000  # they would all be one group
    groups = near_duplicates.find(items, 0.97).group
    assert groups.tolist() == [*range(80), 3, 70]
