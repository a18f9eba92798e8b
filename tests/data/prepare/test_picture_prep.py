"""Crop, tilt, square: what is done to a picture, and what is said where a step cannot be done."""

from __future__ import annotations

import numpy as np
import pytest
from small_pictures import head

from brain_diffusion_jax.data.prepare import picture_prep
from brain_diffusion_jax.data.sources import pictures


def test_contour_crop_finds_the_head_and_says_when_it_cannot():
    canvas = np.zeros((200, 160), np.uint8)
    canvas[60:150, 40:120] = head(3)
    cut = picture_prep.contour_crop(canvas)
    assert abs(cut.shape[0] - 0.84 * 90) < 8
    assert abs(cut.shape[1] - 0.72 * 80) < 8
    with pytest.raises(picture_prep.PreparationError, match="nothing brighter"):
        picture_prep.contour_crop(np.full((64, 64), 20, np.uint8))
    dark = picture_prep.prepare_picture(
        np.full((64, 64), 20, np.uint8), picture_prep.PicturePrep(crop=True, tilt=True, size=32)
    )
    assert [reason.split(":")[0] for reason in dark.failed] == ["tilt", "crop"]
    assert dark.pixels.shape == (32, 32)


@pytest.mark.parametrize("lean", [-20.0, -8.0, 0.0, 15.0])
def test_tilt_is_measured_and_undone(lean):
    tilted = head(4, lean=lean)
    before = picture_prep.tilt_degrees(tilted)
    assert abs(abs(before) - abs(lean)) < 2.5
    after = picture_prep.tilt_degrees(picture_prep.upright(tilted, before))
    assert abs(after) < 2.0


def test_square_keeps_the_middle_and_the_proportions():
    wide = np.zeros((40, 80), np.uint8)
    wide[:, 30:50] = 200
    square = picture_prep.to_square(wide, 40)
    assert square.shape == (40, 40)
    assert square[:9].max() < 40  # padding above
    assert square[20, 20] > 180
    assert np.abs(square.astype(int) - square[::-1, ::-1]).max() <= 2


@pytest.mark.realdata
def test_real_jpegs_are_grey_and_croppable(real_data):
    files = sorted((real_data("tumor_mri_2d") / "raw_samples").glob("*.jpg"))
    assert len(files) == 8
    for path in files:
        result = picture_prep.prepare_picture(pictures.read_picture(path), picture_prep.PicturePrep(crop=True, size=64))
        assert result.pixels.shape == (64, 64)
        assert not result.failed
        assert result.pixels.mean() > 15
