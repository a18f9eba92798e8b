from __future__ import annotations

import contextlib
import gzip
import itertools
import tracemalloc

import nibabel
import numpy as np
import pytest
from small_cohort import AFFINE, SHAPE, brain, write_scan

from brain_diffusion_jax.data.prepare import nifti
from brain_diffusion_jax.errors import InputError


def reoriented(data, affine, codes):
    image = nibabel.Nifti1Image(data, affine)
    change = nibabel.orientations.ornt_transform(
        nibabel.io_orientation(affine), nibabel.orientations.axcodes2ornt(codes)
    )
    turned = image.as_reoriented(change)
    return np.asarray(turned.dataobj), turned.affine


def stored_orientation(path):
    return "".join(nibabel.aff2axcodes(nibabel.load(path).affine))


ALL_48 = ["".join(c) for axes in itertools.permutations(("LR", "AP", "IS")) for c in itertools.product(*axes)]


@pytest.mark.parametrize("codes", ALL_48)
def test_any_orientation_gives_the_same_ras_voxels(tmp_path, codes):
    data, affine = reoriented(brain(), AFFINE, codes)
    path = write_scan(tmp_path / "scan.nii", data, affine)
    assert stored_orientation(path) == codes
    volume = nifti.read_volume(path)
    np.testing.assert_array_equal(volume.data, brain())
    np.testing.assert_allclose(volume.affine, AFFINE)
    assert nifti.resample(volume, SHAPE, AFFINE).data is volume.data  # no interpolation for a flip


@pytest.mark.parametrize("kind", ["nifti1", "nifti2", "slope"])
def test_formats_and_slope(tmp_path, kind):
    path = tmp_path / "scan.nii.gz"
    stored = np.rint(brain()).astype(np.int16)
    make = nibabel.Nifti2Image if kind == "nifti2" else nibabel.Nifti1Image
    image = make(stored, AFFINE)
    if kind == "slope":
        image.header.set_slope_inter(0.5, 3.0)
    nibabel.save(image, path)
    if kind == "slope":  # nibabel scales on save, so set the header's bytes instead
        raw = bytearray(gzip.decompress(path.read_bytes()))
        raw[112:120] = np.array([0.5, 3.0], "<f4").tobytes()
        path.write_bytes(gzip.compress(bytes(raw)))
    expected = stored * 0.5 + 3 if kind == "slope" else stored
    np.testing.assert_allclose(nifti.read_volume(path).data, expected)


def test_a_fourth_axis_of_one_is_dropped(tmp_path):
    path = write_scan(tmp_path / "a.nii.gz", brain()[..., None])
    assert nifti.read_volume(path).data.shape == SHAPE


def test_save_and_read_again(tmp_path):
    path = nifti.save_volume(tmp_path / "new" / "v.nii.gz", brain(), AFFINE)
    volume = nifti.read_volume(path)
    np.testing.assert_array_equal(volume.data, brain())
    np.testing.assert_allclose(volume.affine, AFFINE)
    assert [p.name for p in path.parent.iterdir()] == ["v.nii.gz"]


def ramp(shape, affine):
    """A linear function of world position, which trilinear interpolation must keep."""
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"))
    world = np.einsum("ij,jxyz->ixyz", affine[:3, :3], index) + affine[:3, 3, None, None, None]
    return (500 + world[0] + 2 * world[1] - world[2]).astype(np.float32)


@pytest.mark.parametrize("oblique", [False, True])
def test_resampling_keeps_world_positions(oblique):
    source = np.diag([3.0, 3.0, 3.0, 1.0])
    if oblique:
        c, s = np.cos(0.2), np.sin(0.2)
        source[:3, :3] = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) * 3
    source[:3, 3] = (-60, -60, -60)
    volume = nifti.Volume(ramp((40, 40, 40), source), source)
    target = nifti.box_grid((10, 9, 8), (2.0, 2.5, 3.0), (-10.0, -5.0, 0.0))
    out = nifti.resample(volume, *target, min_overlap=0)
    np.testing.assert_allclose(out.data, ramp(target.shape, target.affine), rtol=1e-4)


def test_downsampling_averages_instead_of_picking():
    rng = np.random.default_rng(0)
    fine = nifti.box_grid((40, 40, 40), (1.0,) * 3, (0.0,) * 3)
    noise = nifti.Volume((100 + 10 * rng.standard_normal(fine.shape)).astype(np.float32), fine.affine)
    coarse = nifti.box_grid((16, 16, 16), (2.0,) * 3, (4.0,) * 3)
    assert nifti.resample(noise, *coarse, min_overlap=0).data.std() < 6  # 10 where every second voxel is picked


def test_outside_the_grid_names_file_and_share(tmp_path):
    far = AFFINE.copy()
    far[0, 3] += 400
    volume = nifti.read_volume(write_scan(tmp_path / "far.nii.gz", brain(), far))
    with pytest.raises(InputError, match=r"far\.nii\.gz: position: found 0 % of the scan inside the grid"):
        nifti.resample(volume, *nifti.MNI_2MM)
    assert nifti.overlap(volume, nifti.Grid(SHAPE, far)) == 1.0


def with_value(value, share=0.2):
    data = brain()
    data.ravel()[: int(share * data.size)] = value
    return data


def truncated(path):
    write_scan(path, brain())
    path.write_bytes(path.read_bytes()[:-2000])


def corrupt(path):
    write_scan(path, brain())
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2 : len(raw) // 2 + 200] = bytes(200)
    path.write_bytes(bytes(raw))


def singular(path):
    image = nibabel.Nifti1Image(brain(), AFFINE)
    nibabel.save(image, path)
    raw = bytearray(gzip.decompress(path.read_bytes()))
    raw[252:256] = np.array([0, 4], "<i2").tobytes()  # qform_code, sform_code
    raw[280:296] = bytes(16)  # srow_x
    path.write_bytes(gzip.compress(bytes(raw)))


BAD = {
    "missing": (lambda p: None, "file: found no such file"),
    "zero bytes": (lambda p: p.write_bytes(b""), "file: found 0 bytes"),
    "text": (lambda p: p.write_text("not a scan"), "header: found"),
    "gzipped text": (lambda p: p.write_bytes(gzip.compress(b"x" * 5000)), "header: found"),
    "truncated": (truncated, "voxels: found .*complete file"),
    "corrupt": (corrupt, "voxels: found .*complete file"),
    "4D": (lambda p: write_scan(p, np.stack([brain()] * 3, -1)), "shape: found 4D"),
    "2D": (lambda p: write_scan(p, brain()[:, :, 9]), "shape: found 2D"),
    "2D slab": (lambda p: write_scan(p, brain()[:, :, 9:10]), "shape: found 2D"),
    "colour": (
        lambda p: nibabel.save(nibabel.Nifti1Image(brain().astype(np.complex64), AFFINE), p),
        "dtype: found complex64",
    ),
    "nan": (lambda p: write_scan(p, with_value(np.nan)), r"voxels: found \d+ NaN"),
    "inf": (lambda p: write_scan(p, with_value(np.inf)), r"voxels: found 0 NaN and \d+ infinite"),
    "constant": (lambda p: write_scan(p, np.full(SHAPE, 7, np.float32)), "voxels: found the constant 7"),
    "zeros": (lambda p: write_scan(p, np.zeros(SHAPE, np.float32)), "voxels: found the constant 0"),
    "z-scored": (lambda p: write_scan(p, brain() - 60), "voxels: found negative intensities"),
    "no orientation": (lambda p: write_scan(p, brain(), code=0), "affine: found sform_code 0"),
    "singular": (singular, "affine: found .*invertible"),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.filterwarnings("ignore")
def test_bad_volume_is_refused_by_name(tmp_path, name):
    path = tmp_path / "bad.nii.gz"
    make, message = BAD[name]
    make(path)
    with pytest.raises(InputError, match=rf"bad\.nii\.gz: {message}"):
        nifti.read_volume(path)


def test_empty_volume(tmp_path):
    path = tmp_path / "bad.nii"
    write_scan(path, brain())
    raw = bytearray(path.read_bytes())
    raw[42:44] = bytes(2)  # dim[1] = 0
    path.write_bytes(bytes(raw))
    with pytest.raises(InputError, match=r"bad\.nii: (shape|header): found"):
        nifti.read_volume(path)


def change(path, **fields):
    """Write header fields into a NIfTI-1 file as they are, past everything that nibabel would mend."""
    packed = path.name.lower().endswith(".gz")
    raw = bytearray(gzip.decompress(path.read_bytes()) if packed else path.read_bytes())
    header = np.frombuffer(raw, nibabel.Nifti1Header.template_dtype, 1)
    for name, value in fields.items():
        header[name][...] = value
    path.write_bytes(gzip.compress(bytes(raw), 1) if packed else bytes(raw))
    return path


@pytest.mark.parametrize(("unit", "factor"), [(0, 1), (1, 1e-3), (2, 1), (3, 1e3), (2 | 8, 1), (3 | 16, 1e3)])
def test_units_of_the_header_are_read(tmp_path, unit, factor):
    affine = AFFINE.copy()
    affine[:3] *= factor
    path = change(write_scan(tmp_path / "scan.nii.gz", brain(), affine), xyzt_units=unit)
    np.testing.assert_allclose(nifti.read_volume(path).affine, AFFINE, rtol=1e-6)
    np.testing.assert_allclose(nifti.read_volume(path).spacing_mm, 10, rtol=1e-6)


@pytest.mark.parametrize("name", ["X.NII.GZ", "x.Nii.gZ", "x.nii.gz"])
def test_a_flipped_bit_is_noticed_whatever_the_case_of_the_name(tmp_path, name):
    path = write_scan(tmp_path / "x.nii.gz", brain()).rename(tmp_path / name)
    np.testing.assert_array_equal(nifti.read_volume(path).data, brain())
    raw = path.read_bytes()
    for place in np.random.default_rng(0).integers(400, len(raw), 60):
        path.write_bytes(raw[:place] + bytes([raw[place] ^ 1 << int(place) % 8]) + raw[place + 1 :])
        with contextlib.suppress(InputError):  # but for the bits of deflate that mean nothing
            np.testing.assert_array_equal(nifti.read_volume(path).data, brain())


def link_to_nothing(folder):
    (folder / "a.nii.gz").symlink_to("../.git/annex/objects/a")
    return folder / "a.nii.gz"


def written(name, data):
    def write(folder):
        (folder / name).write_bytes(data)
        return folder / name

    return write


def scaled(factor, **fields):
    affine = AFFINE.copy()
    affine[:3] *= factor
    return lambda folder: change(write_scan(folder / "a.nii.gz", brain(), affine), **fields)


STRANGERS = {
    "link to nothing": (link_to_nothing, r"file: found a link to nothing \(datalad get\?\)"),
    "folder": (lambda folder: folder, "file: found a folder"),
    "AppleDouble": (written("._a.nii.gz", b"\0\5\x16\7" + bytes(200)), "file: found an AppleDouble file"),
    "annex": (written("a.nii.gz", b"/annex/objects/MD5E-s1--x.nii.gz\n"), r"file: found a pointer of git-annex"),
    "img": (written("a.img", b"x" * 900), r"format: found one half of an .img/.hdr pair; .*fslchfiletype NIFTI_GZ"),
    "hdr": (written("a.HDR.GZ", b"x" * 900), r"format: found one half of an .img/.hdr pair"),
    "offset 0": (scaled(1, vox_offset=0), "vox_offset: found 0; expected 352"),
    "offset NaN": (scaled(1, vox_offset=np.nan), "(vox_offset|header): found"),
    "offset 2 GB": (scaled(1, vox_offset=2**31), "vox_offset: found 2.14748e"),
    "inches": (scaled(1, xyzt_units=5), "xyzt_units: found 5; expected 0"),
    "metres": (scaled(1, xyzt_units=1), r"voxel size: found 1e\+04 x 1e\+04 x 1e\+04 mm \(by xyzt_units m\)"),
    "micron": (scaled(1, xyzt_units=3), r"voxel size: found 0.01 x 0.01 x 0.01 mm \(by xyzt_units micron\)"),
    "1e-6 mm": (scaled(1e-7), "voxel size: found 1e-06"),
    "1e-9 mm": (scaled(1e-10), "voxel size: found 1e-09"),
}


@pytest.mark.parametrize("name", STRANGERS)
def test_files_that_hold_no_scan_of_a_head(tmp_path, name):
    make, message = STRANGERS[name]
    path = make(tmp_path)
    with pytest.raises(InputError, match=message):
        nifti.read_volume(path)


def bomb(path, shape, dtype, tail):
    """A scan's header that claims `shape`, then `tail` times 32 MiB of zeros, in a few MB."""
    header = nibabel.Nifti1Header()
    header.set_data_shape(shape)
    header.set_data_dtype(dtype)
    header.set_sform(AFFINE, 4)
    header["vox_offset"], header["magic"] = 352, b"n+1"
    start = header.binaryblock + bytes(4) + (brain().astype(dtype).tobytes("F") if shape == SHAPE else b"")
    path.write_bytes(gzip.compress(start) + gzip.compress(bytes(2**25)) * tail)
    return path


@pytest.mark.parametrize(
    ("shape", "dtype", "tail", "message"),
    [
        (SHAPE, "<f4", 128, "voxels: found more than 1 MiB behind the last voxel"),
        ((1024, 1024, 1024), "u1", 32, "shape: found 1024 x 1024 x 1024 voxels; expected at most"),
        ((30000, 10, 10), "u1", 1, "shape: found 30000 x 10 x 10 voxels; expected at most 2048 along"),
        ((512, 512, 256), "u1", 2, "voxels: found the constant 0"),
    ],
)
def test_a_small_file_cannot_ask_for_much_memory(tmp_path, shape, dtype, tail, message):
    path = bomb(tmp_path / "a.nii.gz", shape, dtype, tail)
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=message):
            nifti.read_volume(path)
        assert tracemalloc.get_traced_memory()[1] < 600 * 2**20
    finally:
        tracemalloc.stop()


def test_bytes_behind_the_voxels_that_pad_a_file_are_no_harm(tmp_path):
    path = write_scan(tmp_path / "a.nii", brain())
    path.write_bytes(path.read_bytes() + bytes(5000))
    np.testing.assert_array_equal(nifti.read_volume(path).data, brain())


@pytest.mark.parametrize("dtype", ["<i2", ">i2", "<u4", "<f8", ">f4"])
@pytest.mark.parametrize("slope", [(1, 0), (0.3, 2.7)])
def test_voxels_are_those_of_nibabel_bit_for_bit(tmp_path, dtype, slope):
    data, affine = reoriented(brain().astype(dtype), AFFINE, "PSR")
    header = nibabel.Nifti1Header(endianness=dtype[0])
    header.set_data_dtype(dtype)
    path = tmp_path / "a.nii"
    nibabel.save(nibabel.Nifti1Image(data, affine, header), path)
    if dtype[0] == "<":
        change(path, scl_slope=slope[0], scl_inter=slope[1])
    theirs = nibabel.as_closest_canonical(nibabel.load(path))
    np.testing.assert_array_equal(nifti.read_volume(path).data, np.maximum(theirs.get_fdata(dtype=np.float32), 0))


def test_faint_negative_rim_is_clipped_with_a_warning(tmp_path):
    path = write_scan(tmp_path / "rim.nii.gz", np.where(brain() == 0, -0.2, brain()))
    with pytest.warns(UserWarning, match="rim.nii.gz: voxels: found faint negative"):
        volume = nifti.read_volume(path)
    assert volume.data.min() == 0


@pytest.mark.realdata
def test_real_orientations(real_data):
    las = sorted((real_data("oasis1_mni2mm") / "volumes").glob("*.nii.gz"))[0]
    volume = nifti.read_volume(las)
    assert stored_orientation(las) == "LAS"
    np.testing.assert_allclose(volume.affine, nifti.MNI_2MM.affine)
    assert 0.5 < np.percentile(volume.data[volume.data > 0], 90) < 2.55  # scl_slope 0.01 honoured
    lps = next(real_data("deepbrainnet_t1").glob("*.nii.gz"))
    volume = nifti.read_volume(lps)
    assert stored_orientation(lps) == "LPS"
    assert volume.data.shape == nifti.MNI_1MM.shape
    # The frontal lobe lies in front: the centre of mass of an MNI brain is near y = -20 mm.
    share = volume.data / volume.data.sum()
    index = [(share.sum(axis=other) * np.arange(n)).sum() for n, other in zip(share.shape, ((1, 2), (0, 2), (0, 1)))]
    centre = volume.affine[:3, :3] @ index + volume.affine[:3, 3]
    assert np.linalg.norm(centre - (0, -20, 12)) < 12
    psr = next(p for p in sorted(real_data("ixi_psr_2mm").glob("*-T1.nii.gz")))
    volume = nifti.read_volume(psr)
    assert stored_orientation(psr) == "PSR"
    assert volume.data.shape == (90, 120, 120)
    assert volume.data.max() > 1000 > 255 * nibabel.load(psr).dataobj.slope * 0.1  # scl_slope honoured
