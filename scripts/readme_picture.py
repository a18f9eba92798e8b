"""The picture of the README: docs/phantoms.png, made-up brains of 2 mm.

  python scripts/readme_picture.py

Above: an axial slice of one phantom at six ages (the same deviations, the same folds). Below: the same at 70 years, in
three planes. It is what `brain-diffusion phantom` makes, in seconds of one core; no network and no person is in it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from brain_diffusion_jax.data.phantoms.phantom import make_person
from brain_diffusion_jax.data.picture_grid import three_planes
from brain_diffusion_jax.data.prepare.slicing import to_display
from brain_diffusion_jax.pixels import to_uint8

AGES_YEARS = (20, 35, 50, 65, 80, 90)
CUT = (49, 56, 47)  # voxel of the three planes: right of the midline, through the ventricles
SLICE = 46  # MNI z = 20 mm
WHITE = 1.1  # intensity that is shown white
MARGINS = slice(5, 104), slice(8, 83)  # rows and columns of a slice that hold a head
WIDTH = 1200  # pixels of the sheet


def head(age_years: float) -> Float[np.ndarray, "91 109 91"]:
    """The same made-up woman at an age, in [0, 1]."""
    scan, _ = make_person(age_years, "F", np.random.default_rng(4))
    return np.clip(scan / WHITE, 0, 1)


def scaled(sheet: Float[np.ndarray, "rows cols"]) -> UInt8[np.ndarray, "height width"]:
    """A sheet in [0, 1], WIDTH pixels wide."""
    rows, cols = sheet.shape
    size = WIDTH, round(rows * WIDTH / cols)
    return np.asarray(Image.fromarray(to_uint8(sheet)).resize(size, Image.Resampling.LANCZOS))


def main() -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "docs" / "phantoms.png")
    given = parser.parse_args()
    above = np.concatenate([to_display(head(age)[..., SLICE])[MARGINS] for age in AGES_YEARS], axis=1)
    below = three_planes(head(70.0), CUT)
    Image.fromarray(np.concatenate([scaled(above), scaled(below)])).save(given.out, optimize=True)


if __name__ == "__main__":
    main()
