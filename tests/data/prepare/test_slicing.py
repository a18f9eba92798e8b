from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_cohort import AFFINE, SHAPE, brain

from brain_diffusion_jax.data.prepare import nifti, slicing
from brain_diffusion_jax.data.prepare.slicing import Fit, Slicing
from brain_diffusion_jax.errors import InputError


def test_display_conventions():
    """One bright voxel at the person's right, front, top must show up where `display` says."""
    data = np.zeros((5, 6, 7), np.float32)
    data[4, 5, 6] = 1
    volume = nifti.Volume(data, np.eye(4))
    corner = {}
    for axis, index in (("axial", 6), ("coronal", 5), ("sagittal", 4)):
        pictures, indices, native = slicing.pictures_from_volume(
            volume, Slicing(axis, rule="list_index", values=(index,))
        )
        assert indices == [index]
        assert native == pictures.shape[1:]
        corner[axis] = (tuple(int(v) for v in np.argwhere(pictures[0])[0]), pictures.shape[1:])
    # Anterior/superior is row 0, the person's right (or anterior, sagittal) is column 0.
    assert corner == {"axial": ((0, 0), (6, 5)), "coronal": ((0, 0), (7, 5)), "sagittal": ((0, 0), (7, 6))}


@pytest.mark.parametrize("axis", ["axial", "coronal", "sagittal"])
def test_pictures_go_back_to_their_place(axis):
    volume = nifti.Volume(brain(), AFFINE)
    cut = Slicing(axis, rule="range_index", start=5, stop=12, step=2)
    pictures, indices, _ = slicing.pictures_from_volume(volume, cut)
    back = slicing.place_in_volume(pictures, indices, SHAPE, axis)
    where = [slice(None)] * 3
    where[cut.dimension] = indices
    np.testing.assert_array_equal(back[tuple(where)], volume.data[tuple(where)])
    assert back.sum() == volume.data[tuple(where)].sum()


def test_rules_of_the_references():
    grid2, grid1 = nifti.MNI_2MM, nifti.MNI_1MM
    r1 = Slicing(rule="reference_r1").indices(*grid2)
    assert r1 == list(range(25, 65))  # nz // 2 = 45: 25..64
    r2 = Slicing(rule="deepbrainnet").indices(*grid1)
    assert r2 == list(range(45, 125))
    shifted = nifti.box_grid((182, 218, 190), (1.0,) * 3, (-90.0, -126.0, -80.0))
    assert Slicing(rule="deepbrainnet").indices(*shifted) == list(range(53, 133))  # by position
    with pytest.raises(InputError, match=r"spacing: found 2 mm; expected 1 mm"):
        Slicing(rule="deepbrainnet").indices(*grid2)


def test_millimetres_and_indices_agree():
    grid = nifti.MNI_2MM
    by_mm = Slicing(rule="list_mm", values=(0, 20, 40))
    assert by_mm.indices(*grid) == [36, 46, 56]
    assert by_mm.positions_mm([36, 46, 56], grid.affine) == [0.0, 20.0, 40.0]
    assert Slicing(rule="range_mm", start=-20, stop=20, step=4).indices(*grid) == list(range(26, 47, 2))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"rule": "range_idx"}, "rule: found range_idx; expected nearest: range_index"),
        ({"axis": "axiall"}, "axis: found axiall"),
        ({"start": 9, "stop": 3}, "start, stop, step: found"),
        ({"rule": "list_mm"}, "values: found nothing"),
        ({"start": 2.5}, "range_index: found"),
        ({"start": 80, "stop": 95}, r"axial slices: found \[91, 92, 93, 94\]"),
        ({"rule": "range_mm", "start": 0, "stop": 10, "step": 0.5}, "step: found two positions in one slice"),
    ],
)
def test_wrong_slices_are_refused(keys, message):
    with pytest.raises(InputError, match=message):
        Slicing(**keys).indices(*nifti.MNI_2MM)


@given(
    native=st.tuples(st.integers(3, 20), st.integers(3, 20)),
    size=st.tuples(st.integers(3, 20), st.integers(3, 20)),
)
def test_pad_crop_inverse(native, size):
    pictures = np.random.default_rng(0).uniform(size=(2, *native)).astype(np.float32)
    fit = Fit("pad_crop", size)
    there = fit.apply(pictures)
    assert there.shape == (2, *size)
    back = fit.unapply(there, native)
    assert back.shape == pictures.shape
    assert ((back == pictures) | (back == 0)).all()
    if all(s >= n for s, n in zip(size, native)):
        np.testing.assert_array_equal(back, pictures)


@given(native=st.tuples(st.integers(2, 40), st.integers(2, 40)), size=st.tuples(st.integers(2, 40), st.integers(2, 40)))
def test_area_resize_keeps_the_mean_where_it_shrinks(native, size):
    pictures = np.random.default_rng(1).uniform(size=(1, *native)).astype(np.float32)
    out = slicing.resize(pictures, size, "area")
    assert out.min() >= pictures.min() - 1e-5
    assert out.max() <= pictures.max() + 1e-5
    if all(s <= n for s, n in zip(size, native)):
        assert out.mean() == pytest.approx(pictures.mean(), abs=1e-5)


@pytest.mark.parity
def test_area_resize_equals_torch():
    torch = pytest.importorskip("torch")
    pictures = np.random.default_rng(1).uniform(size=(1, 109, 91)).astype(np.float32)
    # torch's "area" widens fractional boxes to whole pixels, so compare where the ratio is whole.
    whole = pictures[:, :108, :90]
    theirs = torch.nn.functional.interpolate(torch.from_numpy(whole)[None], (36, 45), mode="area")[0].numpy()
    np.testing.assert_allclose(slicing.resize(whole, (36, 45), "area"), theirs, atol=1e-6)
    theirs = torch.nn.functional.interpolate(
        torch.from_numpy(pictures)[None], (128, 96), mode="bilinear", align_corners=False
    )[0].numpy()
    np.testing.assert_allclose(slicing.resize(pictures, (128, 96), "bilinear"), theirs, atol=1e-5)


def test_resize_and_back_stays_close():
    volume = nifti.Volume(np.repeat(np.repeat(brain(), 4, 0), 4, 1), AFFINE)
    cut = Slicing(rule="list_index", values=(9,))
    native = slicing.pictures_from_volume(volume, cut)[0]
    for method in ("area", "bilinear"):
        fit = Fit("resize", (70, 60), method)
        pictures, _, size = slicing.pictures_from_volume(volume, cut, fit)
        assert pictures.shape == (1, 70, 60)
        assert np.abs(fit.unapply(pictures, size) - native).mean() < 4


@pytest.mark.parametrize(
    ("fit", "message"),
    [
        (lambda: Fit("stretch", (3, 3)), "rule: found stretch"),
        (lambda: Fit("pad"), "size: found None"),
        (lambda: Fit("resize", (3, 3), "cubic"), "method: found cubic"),
        (lambda: Fit("pad", (8, 8)).apply(np.zeros((1, 9, 7))), "scan: picture size: found .*nowhere smaller"),
        (lambda: Fit("crop", (8, 8)).apply(np.zeros((1, 9, 7))), "scan: picture size: found .*nowhere larger"),
    ],
)
def test_wrong_fits_are_refused(fit, message):
    with pytest.raises(InputError, match=message):
        fit()


@pytest.mark.realdata
def test_real_slices_equal_the_published_ones(real_data):
    folder = real_data("oasis1_mni2mm")
    published = np.load(folder / "axial_slices_u8.npz", allow_pickle=False)
    for row in (0, 100, 300):
        name = str(published["session_id"][row])
        volume = nifti.read_volume(folder / "volumes" / f"{name}.nii.gz")
        pictures, _, _ = slicing.pictures_from_volume(volume, Slicing(rule="list_mm", values=(0, 10, 20, 30, 40)))
        # Their column 0 is the person's left, ours the right.
        np.testing.assert_array_equal(np.rint(pictures * 100), published["images"][row][:, :, ::-1])
