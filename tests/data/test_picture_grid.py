from __future__ import annotations

import numpy as np
from PIL import Image

from brain_diffusion_jax.data import picture_grid


def test_tile_places_pictures_row_by_row():
    pictures = np.arange(5)[:, None, None] / 5 * np.ones((5, 4, 3))
    sheet = picture_grid.tile(pictures, columns=3)
    assert sheet.shape == (2 * 4 + 1, 3 * 3 + 2)
    assert sheet.dtype == np.uint8
    for number in range(5):
        top, left = (number // 3) * 5, (number % 3) * 4
        assert (sheet[top : top + 4, left : left + 3] == round(number / 5 * 255)).all()
    assert (sheet[5:, 8:] == 0).all()


def test_tile_clips_and_takes_a_channel_axis():
    sheet = picture_grid.tile(np.array([-1.0, 2.0, np.nan]).reshape(3, 1, 1, 1), columns=3, gap=0)
    assert sheet.tolist() == [[0, 255, 0]]


def test_png_comes_back(tmp_path):
    sheet = np.random.default_rng(0).integers(0, 256, (7, 9), dtype=np.uint8)
    path = picture_grid.save_png(tmp_path / "new" / "a.png", sheet)
    np.testing.assert_array_equal(np.asarray(Image.open(path)), sheet)
    assert [p.name for p in path.parent.iterdir()] == ["a.png"]


def test_of_a_volume_the_middle_axial_slice_is_shown_anterior_up_and_right_on_the_left():
    volume = np.zeros((1, 5, 4, 3, 1), np.float32)
    volume[0, 4, 3, 1] = 1.0  # the person's right, at the front
    volume[0, 0, 0, 0] = 1.0  # in another slice
    sheet = picture_grid.tile(volume)
    assert sheet.shape == (4, 5)
    assert np.argwhere(sheet == 255).tolist() == [[0, 0]]


def test_three_channels_are_colours():
    images = np.zeros((2, 4, 3, 3), np.float32)
    images[1, ..., 0] = 1.0
    sheet = picture_grid.tile(images, columns=2)
    assert sheet.shape == (4, 7, 3)
    assert (sheet[:, 4:] == (255, 0, 0)).all()
    assert (sheet[:, :3] == 0).all()


def test_three_planes_show_a_corner_where_a_reader_looks_for_it():
    volume = np.zeros((5, 6, 4), np.float32)
    volume[4, 5, 3] = 1.0  # the person's right, front, top
    planes = picture_grid.three_planes(volume, (4, 5, 3))
    assert planes.shape == (6, 5 + 5 + 6)
    # Axial: row 0 in front, right on the left. Coronal, sagittal: row 0 on top; in the last one the front is left.
    assert np.argwhere(planes == 1).tolist() == [[0, 0], [0, 5], [0, 10]]
    assert not planes[4:, 5:].any()  # shorter cuts are filled up
    middle = picture_grid.three_planes(np.stack([volume, volume]))
    assert middle.shape == (2, 6, 16)
    assert not middle.any()  # the middle shows nothing of the corner


def test_the_voxel_at_a_place():
    affine = np.array([[2.0, 0, 0, -78], [0, 2, 0, -114], [0, 0, 2, -72], [0, 0, 0, 1]])
    assert picture_grid.voxel_at((80, 96, 80), affine, (10.0, -18.0, 20.0)) == (44, 48, 46)
    assert picture_grid.voxel_at((20, 96, 80), affine, (10.0, -300.0, 20.0)) == (19, 0, 46)
