"""The published preparation, against its own steps written out plainly."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from brain_diffusion_jax.data.prepare import age_preparation, nifti
from brain_diffusion_jax.errors import InputError


def plainly(stored_lps: np.ndarray, z: int) -> np.ndarray:
    """One slice as Pillow makes it from the scaled LPS array: rows x, columns y, 8 bit."""
    scaled = stored_lps * (185.0 / np.percentile(stored_lps, 97))
    return np.asarray(Image.fromarray(scaled[:, :, z].astype(np.float32)).convert("RGB"))


@pytest.fixture(scope="module")
def volume():
    shape, affine = nifti.MNI_1MM
    data = np.zeros(shape, np.float32)
    data[30:150, 40:180, 30:150] = np.random.default_rng(0).integers(0, 1100, (120, 140, 120))
    data[60:64, 60:64, 60:64] = 5000  # brighter than 8 bit hold
    return nifti.Volume(data, affine)


def assert_as_published(volume, stored_lps):
    slices = age_preparation.scaled_slices(age_preparation.on_published_grid(volume))
    assert slices.shape == (80, 182, 218)
    for z in (45, 91, 124):
        np.testing.assert_array_equal(slices[z - 45], plainly(stored_lps, z)[..., 0])
    return slices


def test_values_equal_the_published_script(volume):
    slices = assert_as_published(volume, volume.data[::-1, ::-1].astype(np.float64))
    assert slices.max() == 255


def test_jpeg_and_enlargement_equal_pillow(volume):
    slices = age_preparation.scaled_slices(volume)[:1]
    picture = Image.fromarray(slices[0]).convert("RGB")
    expected = np.asarray(picture.resize((256, 256), Image.Resampling.NEAREST))
    np.testing.assert_array_equal(age_preparation.enlarge(slices)[0], expected[..., 0])
    lossy = age_preparation.through_jpeg(slices[0])
    assert lossy.shape == (182, 218, 3)
    assert 0 < np.abs(lossy[..., 0].astype(int) - slices[0]).mean() < 40
    flat = np.full((16, 16), 100, np.uint8)
    np.testing.assert_array_equal(age_preparation.through_jpeg(flat), 100)


def test_the_unit_of_intensity_does_not_matter(volume):
    small = nifti.Volume(volume.data / 1100, volume.affine)
    large = nifti.Volume(volume.data * 4.1, volume.affine)
    first, second = (age_preparation.scaled_slices(v).astype(int) for v in (small, large))
    assert np.abs(first - second).max() <= 1


def test_an_empty_scan_is_refused():
    shape, affine = nifti.MNI_1MM
    data = np.zeros(shape, np.float32)
    data[90:92, 100:102, 90:92] = 5
    with pytest.raises(InputError, match="97th percentile"):
        age_preparation.scaled_slices(nifti.Volume(data, affine))


@pytest.mark.realdata
def test_real_scans_equal_the_published_script(real_data):
    import nibabel

    path = real_data("deepbrainnet_t1") / "Subject1_T1_BrainAligned.nii.gz"
    stored = nibabel.load(path).get_fdata()
    assert_as_published(nifti.read_volume(path), stored)
    pictures = age_preparation.stored_pictures(nifti.read_volume(path))
    assert pictures.shape == (80, 256, 256, 1)
    assert pictures[40].max() > 0.6 * 255
