"""Made-up heads as pictures, in folders of classes."""

from __future__ import annotations

import numpy as np
from PIL import Image


def head(seed: int, rows: int = 90, cols: int = 80, lean: float = 0.0, brightness: float = 150.0) -> np.ndarray:
    """A bright ellipse with individual blobs on black, leaning by `lean` degrees."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:rows, :cols] - np.array([rows / 2, cols / 2])[:, None, None]
    t = np.radians(lean)
    u, v = x * np.cos(t) + y * np.sin(t), -x * np.sin(t) + y * np.cos(t)
    inside = (u / (0.36 * cols)) ** 2 + (v / (0.42 * rows)) ** 2 < 1
    texture = sum(
        a * np.cos(k * x / 9 + m * y / 9 + p)
        for a, k, m, p in zip(rng.normal(0, 22, 8), rng.normal(0, 3, 8), rng.normal(0, 3, 8), rng.uniform(0, 6, 8))
    )
    return np.where(inside, np.clip(brightness + texture, 60, 255), 3).astype(np.uint8)


def write_folder(root, counts, start=0, splits=("",)):
    number = start
    for split in splits:
        for label, count in counts.items():
            folder = root / split / label
            folder.mkdir(parents=True)
            for i in range(count):
                Image.fromarray(head(number)).save(folder / f"p{i}.png")
                number += 1
    return root
