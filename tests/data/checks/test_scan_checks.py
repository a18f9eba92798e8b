"""Scans whose age cannot be predicted are refused with the reason."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from brain_diffusion_jax.data.checks import quality, scan_checks
from brain_diffusion_jax.data.phantoms import phantom_anatomy, phantom_scan
from brain_diffusion_jax.data.prepare import nifti
from brain_diffusion_jax.errors import InputError


@pytest.fixture(scope="module")
def brain():
    rng = np.random.default_rng(5)
    shape = phantom_anatomy.Shape(scale=1.0, ventricle_fraction=0.014, sulcus_mm=0.5, cortex_mm=3.0)
    data = phantom_scan.t1_weighted(phantom_anatomy.build(shape, rng), rng)
    return nifti.Volume(np.asarray(data, np.float32), nifti.MNI_2MM.affine)


def kinds(volume) -> list[str]:
    return [finding.kind for finding in scan_checks.check_brain(volume)]


def test_a_brain_passes_in_any_unit(brain):
    for factor in (1.0, 0.004, 18.0):
        assert kinds(nifti.Volume(brain.data * factor, brain.affine)) == []


@pytest.mark.parametrize(
    ("turn", "says"),
    [
        (lambda d: d[:, :, ::-1], "I"),
        (lambda d: d[:, ::-1], "P"),
        (lambda d: d.transpose(1, 2, 0), "A-S-R/L"),
    ],
)
def test_a_header_that_lies_about_the_axes_is_noticed(turn, says, brain):
    findings = scan_checks.check_brain(nifti.Volume(np.ascontiguousarray(turn(brain.data)), brain.affine))
    assert [f.kind for f in findings] == ["orientation"]
    assert says in findings[0].found


def test_the_skull_is_noticed(brain):
    inside = ndimage.binary_fill_holes(brain.data > 0)
    distance = ndimage.distance_transform_edt(~inside) * 2
    white = np.percentile(brain.data[inside], 90)
    bone = 1.6 * white * np.random.default_rng(0).uniform(0.9, 1.1, brain.data.shape)
    head = np.where((distance > 6) & (distance < 14), bone, brain.data).astype(np.float32)
    assert kinds(nifti.Volume(head, brain.affine)) == ["skull"]


def test_a_brain_elsewhere_is_noticed(brain):
    angle = np.deg2rad(25)
    tilt = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    centre = np.array(brain.data.shape) / 2
    tilted = ndimage.affine_transform(brain.data, tilt, centre - tilt @ centre, order=1)
    assert kinds(nifti.Volume(tilted, brain.affine)) == ["registration"]
    away = brain.affine.copy()
    away[:3, 3] += 300
    assert kinds(nifti.Volume(brain.data, away)) == ["position"]


def test_a_fixed_window_of_another_unit_is_noticed(brain):
    top = float(brain.data.max())
    assert scan_checks.check_fixed_intensity(brain, 0.0, top) == []
    for factor in (40.0, 0.01):
        scaled = nifti.Volume(brain.data * factor, brain.affine)
        assert [f.kind for f in scan_checks.check_fixed_intensity(scaled, 0.0, top)] == ["intensity"]


def test_what_is_allowed_warns_and_the_rest_is_refused(brain):
    finding = scan_checks.Finding("skull", "a skull", "none")
    assert "skull" in scan_checks.refuse(brain, [finding], ("skull",))[0]
    with pytest.raises(InputError, match="skull"):
        scan_checks.refuse(brain, [finding], ("registration",))


@pytest.mark.realdata
def test_real_scans(real_data):
    aligned = nifti.read_volume(real_data("deepbrainnet_t1") / "Subject2_T1_BrainAligned.nii.gz")
    assert kinds(aligned) == []
    native = nifti.read_volume(real_data("ixi_psr_2mm") / "IXI033-HH-1259-T1.nii.gz")
    assert kinds(native) == ["registration"]
    oasis = real_data("oasis1_mni2mm") / "volumes"
    assert kinds(nifti.read_volume(oasis / "OAS1_0254_MR1.nii.gz")) == ["skull"]
    assert kinds(nifti.read_volume(oasis / "OAS1_0001_MR1.nii.gz")) == []
    assert set(quality.MEASURES) >= {"bright_rim", "outside"}
