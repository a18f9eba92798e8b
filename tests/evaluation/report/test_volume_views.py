"""Planes and sliders of volumes: orientation, frames, and a page that needs no network."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation.report import report, volume_views


def volumes(channels=1):
    """[2, 6, 7, 5, c] RAS: bright at the person's right, anterior, in slice 3 of the first volume."""
    found = np.zeros((2, 6, 7, 5, channels), np.uint8)
    found[0, 5, 6, 3] = 200
    return found


def test_a_frame_has_anterior_up_and_the_persons_right_on_the_left():
    film = volume_views.slice_film(volumes())
    assert film.shape == (5, 7, 6 + 2 + 6)
    assert film[3, 0, 0] == 200
    assert (film[:, :, 6:8] == 255).all()
    assert (film == 200).sum() == 1
    assert volume_views.slice_film(volumes(), step=2).shape[0] == 3
    assert volume_views.slice_film(volumes(3)).shape == (5, 7, 14, 3)
    assert volume_views.slice_film(volumes(2)).shape == (5, 7, 14)


def test_planes_of_each_volume_lie_below_each_other():
    strip = volume_views.plane_strip(volumes().astype(np.float32) / 255)
    assert strip.shape == (7 + 2 + 7, 6 + 6 + 7)
    assert strip.dtype == np.uint8


def test_the_page_holds_one_picture_with_all_frames():
    section = volume_views.volume_section({"real": volumes(), "w=2": volumes()}, ["70 F", "30 M"])
    empty = {"title": "Other", "text": [], "figures": [], "tables": [], "pairs": []}
    page = report.render(
        title="t",
        subtitle="",
        headline=[],
        notes=[],
        grids=[],
        grid_width=1,
        sections=[section, empty],
        method=[],
        method_json="{}",
    )
    assert page.count('<input type="range" min="0" max="2" value="1"') == 2
    assert "http" not in page
    film = section["sliders"][0]
    picture = Image.open(io.BytesIO(base64.b64decode(film["image"].partition(",")[2])))
    assert picture.size == (14, 3 * 7)
    assert (film["width"], film["height"], film["frames"]) == (28, 14, 3)


def test_slices_are_refused():
    with pytest.raises(InputError, match="report: volumes"):
        volume_views.slice_film(np.zeros((2, 6, 7, 1), np.uint8))
