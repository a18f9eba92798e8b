"""Reading a folder of synthetic pictures back, also after Excel or an accident has touched it."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
from PIL import Image

from brain_diffusion_jax.contract import Contract, Grid, Intensity
from brain_diffusion_jax.covariates import Schema
from brain_diffusion_jax.data.sample_folder import SampleFolder, read_pictures, volume_nifti
from brain_diffusion_jax.errors import InputError

CONDITIONS = [{"age": 20.5, "kind": "=1+1"}, {"age": 30.0}, {"kind": "a;b"}]


@pytest.fixture
def folder(tmp_path):
    pictures = np.linspace(0, 1, 3 * 4 * 5, dtype=np.float32).reshape(3, 4, 5, 1)
    made = SampleFolder(tmp_path / "out", {"seed": 1}, None)
    for first in (0, 2):  # the manifest grows
        part = slice(first, first + 2)
        made.write(first, pictures[part], CONDITIONS[part], seed=1, guidance_scale=3.0, columns=["age", "kind"])
    return tmp_path / "out"


def test_what_was_written_is_read(folder):
    pictures, rows = read_pictures(folder)
    assert pictures.shape == (3, 4, 5, 1)
    assert pictures.dtype == np.float32
    assert [row["file"] for row in rows] == [f"pictures/{i:06d}.png" for i in range(3)]
    assert [(row["age"], row["kind"]) for row in rows] == [("20.5", "=1+1"), ("30.0", ""), ("", "a;b")]
    assert "'=1+1" in (folder / "manifest.csv").read_text()


def test_a_manifest_that_excel_saved(folder):
    manifest = folder / "manifest.csv"
    before = read_pictures(folder)
    text = manifest.read_text().replace("a;b", '"a:b"').replace(",", ";").replace("a:b", "a;b").replace("\n", "\r\n")
    manifest.write_bytes(f"\ufeff{text}".encode())
    after = read_pictures(folder)
    assert np.array_equal(before[0], after[0])
    assert before[1] == after[1]


def test_a_picture_that_cannot_be_read_is_named_with_its_line(folder):
    picture = folder / "pictures" / "000001.png"
    whole = picture.read_bytes()
    Image.fromarray(np.zeros((4, 6), np.uint8)).save(picture)
    with pytest.raises(InputError, match=r"manifest.csv: line 3: found pictures/000001.png with \(4, 6\) pixels"):
        read_pictures(folder)
    colours = np.random.default_rng(1).integers(0, 255, (4, 5, 3), np.uint8)
    Image.fromarray(colours).save(picture)
    with pytest.raises(InputError, match=r"line 3: found 'pictures/000001.png': colours"):
        read_pictures(folder)
    deep = (
        (np.linspace(0, 1, 20).reshape(4, 5) * 65535).round().astype(np.uint16)
    )  # 16 bits are read over their own depth
    Image.fromarray(deep).save(picture)
    np.testing.assert_allclose(read_pictures(folder)[0][1, ..., 0], deep / 65535, atol=1e-6)
    random = np.random.default_rng(0)
    for cut in (0, 1, 8, 20, 33, 50, len(whole) - 25):
        picture.write_bytes(whole[:cut])
        with pytest.raises(InputError, match=r"manifest.csv: line 3: found 'pictures/000001.png': (file|picture)"):
            read_pictures(folder)
    for _ in range(100):
        damaged = bytearray(whole)
        damaged[random.integers(len(whole))] ^= 1 << random.integers(8)
        picture.write_bytes(damaged)
        try:
            read_pictures(folder)
        except InputError as error:
            assert str(error).startswith(f"{folder / 'manifest.csv'}: line 3: ")  # noqa: PT017
    picture.unlink()
    with pytest.raises(InputError, match=r"line 3: found 'pictures/000001.png': file no such file"):
        read_pictures(folder)


def test_a_manifest_without_files_is_refused(folder):
    (folder / "manifest.csv").write_text("file,age\n,3\n")
    with pytest.raises(InputError, match="line 2: found ''"):
        read_pictures(folder)
    (folder / "manifest.csv").write_text("index,age\n1,3\n")
    with pytest.raises(InputError, match=r"header: found .*; expected a column 'file'"):
        read_pictures(folder)
    (folder / "manifest.csv").unlink()
    with pytest.raises(InputError, match="no such file"):
        read_pictures(folder)


def test_conditions_are_those_of_the_contract(folder):
    schema = Schema.from_json(
        [{"name": "age", "unit": "years", "low": 18, "high": 96}, {"name": "kind", "values": ("F", "M")}]
    )
    Contract(schema=schema, image_size=(4, 5)).save(folder)
    text = "file,age,kind\npictures/000000.png,20.10,female\npictures/000001.png,,m\n"
    (folder / "manifest.csv").write_text(text)
    assert [(row["age"], row["kind"]) for row in read_pictures(folder)[1]] == [("20.1", "F"), ("", "M")]
    for cell in ("20,1,F", "7o,F", "nan,F", "20,X"):
        (folder / "manifest.csv").write_text(text.replace("20.10,female", cell))
        with pytest.raises(InputError, match=r"manifest.csv: line 2"):
            read_pictures(folder)


def test_a_volume_is_a_nifti_on_its_grid_and_a_picture_of_three_planes(tmp_path):
    affine = ((4.0, 0, 0, -77.0), (0, 4.0, 0, -113.0), (0, 0, 4.0, -71.0), (0, 0, 0, 1.0))
    size = (40, 48, 40)
    grid, intensity = Grid("mni", size, affine), Intensity("fixed", 0.0, 1.2)
    contract = Contract(Schema(()), size, kind="volumes", grid=grid, intensity=intensity)
    volume = np.zeros((1, *size, 1), np.float32)
    volume[0, 25, 24, 23] = 1.0  # at (23, -17, 21) mm
    SampleFolder(tmp_path / "out", {}, contract).write(0, volume, [{}], seed=1, guidance_scale=1.0, columns=[])
    image = nibabel.load(tmp_path / "out" / "nifti" / "000000.nii.gz")
    np.testing.assert_allclose(image.affine, affine)
    ((place,), values) = np.argwhere(image.get_fdata() > 0), image.get_fdata()
    np.testing.assert_allclose(image.affine @ [*place, 1], [23, -17, 21, 1])
    assert values.max() == pytest.approx(1.2)  # the unit of the scans
    picture = np.asarray(Image.open(tmp_path / "out" / "pictures" / "000000.png"))
    assert picture.shape == (48, 40 + 40 + 48)
    # The cuts go through (10, -18, 20) mm: it lies in the axial and the coronal one, right of the middle is left.
    assert np.argwhere(picture == 255).tolist() == [[16, 40 + 14], [23, 14]]
    native = Contract(Schema(()), (4, 5, 6), kind="volumes", spacing_mm=(1.5, 1.5, 3.0), grid=Grid("native"))
    np.testing.assert_allclose(volume_nifti(np.zeros((4, 5, 6, 1)), native).affine, np.diag([1.5, 1.5, 3, 1]))
