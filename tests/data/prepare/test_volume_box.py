"""A box of a grid as a volume: exact crops, pads and averages, and where the voxels lie."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brain_diffusion_jax.contract import Contract, Grid
from brain_diffusion_jax.covariates import Schema
from brain_diffusion_jax.data.prepare import nifti, volume_box
from brain_diffusion_jax.data.prepare.volume_box import VolumeBox
from brain_diffusion_jax.errors import InputError

MNI = nifti.MNI_2MM


def world(grid, axis):
    """[x, y, z] of the world position of every voxel along one axis."""
    place = grid.affine[axis, axis] * np.arange(grid.shape[axis]) + grid.affine[axis, 3]
    return np.broadcast_to(place.reshape([-1 if a == axis else 1 for a in range(3)]), grid.shape)


@settings(deadline=None, max_examples=30)
@given(st.tuples(*[st.integers(2, 9)] * 3), st.tuples(*[st.integers(-4, 8)] * 3))
def test_a_box_holds_the_voxels_of_its_place_and_0_outside(size, offset):
    data = np.random.default_rng(0).uniform(1, 2, (7, 6, 5)).astype(np.float32)
    box = volume_box.crop_or_pad(data, size, offset)
    assert box.shape == size
    for place in np.ndindex(*size):
        source = tuple(p + o for p, o in zip(place, offset, strict=True))
        inside = all(0 <= s < n for s, n in zip(source, data.shape, strict=True))
        assert box[place] == (data[source] if inside else 0)


@pytest.mark.parametrize(("edge", "size"), [(0.0, (80, 96, 80)), (4.0, (80, 96, 80)), (3.0, (78, 96, 78))])
def test_stored_voxels_lie_where_the_affine_says(edge, size):
    """A volume that holds its own world position must hold that of the coarser voxels after averaging."""
    box = VolumeBox(size=size, offset=(6, 6, 0), spacing_mm=edge, most_outside=1.0)
    stored = box.stored(MNI)
    factor = edge / 2 if edge else 1
    assert stored.shape == tuple(round(n / factor) for n in size)
    for axis in range(3):
        cut = box.cut(nifti.Volume(world(MNI, axis).astype(np.float32), MNI.affine))
        # A voxel has one value all over: half of one shifts the mean by a sixth of a millimetre.
        np.testing.assert_allclose(cut.data, world(stored, axis), atol=0.17 if edge == 3 else 1e-3)
        np.testing.assert_allclose(cut.affine, stored.affine)


def test_averages_are_exact_and_keep_the_total():
    data = np.random.default_rng(1).uniform(0, 1, (6, 4, 6))
    halves = volume_box.box_average(data, (3, 2, 3))
    np.testing.assert_allclose(halves, data.reshape(3, 2, 2, 2, 3, 2).mean((1, 3, 5)), atol=1e-6)
    thirds = volume_box.box_average(data, (4, 4, 4))  # 1.5 voxels along x and z
    fine = np.repeat(np.repeat(data, 2, 0), 2, 2)  # halves of voxels: 3 of them fill a coarse one
    np.testing.assert_allclose(thirds, fine.reshape(4, 3, 4, 4, 3).mean((1, 4)), atol=1e-6)
    assert thirds.mean() == pytest.approx(data.mean(), abs=1e-6)
    assert volume_box.box_average(data, data.shape).dtype == np.float32


def test_without_an_offset_the_box_is_centred():
    assert VolumeBox(size=(80, 100, 95)).placed((91, 109, 91)) == ((80, 100, 95), (5, 4, -2))
    assert VolumeBox().placed((91, 109, 91)) == ((91, 109, 91), (0, 0, 0))


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"size": (80, 96)}, "size.*three whole numbers"),
        ({"size": (80, 96, 1)}, "at least 2 voxels"),
        ({"offset": (1, 2, 3)}, r"offset.*\(\) without prepare.volume.size"),
        ({"refuse": ("skul",)}, "refuse.*skul"),
        ({"most_outside": 2.0}, "most_outside"),
    ],
)
def test_boxes_that_cannot_be_are_refused(keys, words):
    with pytest.raises(InputError, match=words):
        VolumeBox(**keys)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"spacing_mm": 1.0}, "1 mm on a grid of 2 mm"),
        ({"size": (81, 96, 80), "spacing_mm": 4.0}, "a box that whole voxels fill"),
    ],
)
def test_voxels_that_do_not_fill_the_box_are_refused(keys, words):
    with pytest.raises(InputError, match=words):
        VolumeBox(**keys).stored(MNI)


def test_a_scan_that_the_box_cuts_is_refused_by_name(tmp_path):
    data = np.zeros((10, 10, 10), np.float32)
    data[2:8, 2:8, 2:8] = 1.0
    scan = nifti.Volume(data, np.diag([2.0, 2, 2, 1]), tmp_path / "head.nii.gz")
    with pytest.raises(InputError, match=r"head.nii.gz: outside the box: found 33 %.*most_outside"):
        VolumeBox(size=(4, 10, 10), offset=(2, 0, 0)).cut(scan)
    assert VolumeBox(size=(4, 10, 10), offset=(2, 0, 0), most_outside=0.4).cut(scan).data.sum() == 4 * 36


def test_a_volume_off_the_contracts_grid_is_refused():
    stored = VolumeBox(size=(80, 96, 80), offset=(6, 6, 0)).stored(MNI)
    grid = Grid("mni", stored.shape, tuple(map(tuple, stored.affine.tolist())))
    contract = Contract(Schema(()), stored.shape, kind="volumes", grid=grid)
    volume_box.require_on_grid(stored.shape, stored.affine, contract, "scan")
    with pytest.raises(InputError, match=r"scan: shape: found \(91, 109, 91\); expected \(80, 96, 80\)"):
        volume_box.require_on_grid(MNI.shape, MNI.affine, contract, "scan")
    with pytest.raises(InputError, match="scan: affine"):
        volume_box.require_on_grid(stored.shape, MNI.affine, contract, "scan")
    with pytest.raises(InputError, match="contract: found slices; expected volumes"):
        volume_box.require_on_grid((5, 5), None, Contract(Schema(()), (5, 5)), "scan")
