"""The bytes of one NIfTI file, read with bounds: a header claims what it likes, a scan is only so large.

Nothing is believed before it is compared with what a scan of a head can be, and nothing is read that
the header does not name, but for a check that little lies behind the voxels. Names are compared
without regard to case.
"""

from __future__ import annotations

import bz2
import gzip
import math
import os
import re
import stat
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from jaxtyping import Float

from brain_diffusion_jax.errors import InputError, refusing

# 0.5 mm over 256 x 256 x 160 mm. Twice as float32 (the scan and its smoothed copy) it is 640 MiB.
MAX_VOXELS = 512 * 512 * 320
MAX_AXIS = 2048
# Header extensions hold text, and some programs pad a file; gigabytes are neither.
MAX_EXTENSIONS = 64 * 2**20
MAX_BEHIND = 2**20
_CHUNK = 16 * 2**20
_SUFFIX = re.compile(r"\.nii(\.gz|\.bz2)?$", re.IGNORECASE)
_PAIR = re.compile(r"\.(img|hdr)(\.gz)?$", re.IGNORECASE)
_FORMAT = "a readable NIfTI file (.nii, .nii.gz)"
# First bytes of files that carry a scan's name and hold no scan.
_STANDINS = {
    b"\x00\x05\x16\x07": ("an AppleDouble file, which macOS writes beside the scan", "the file without the leading ._"),
    b"/annex/objects": ("a pointer of git-annex", "the scan itself (datalad get?)"),
    b"version https://git-lfs": ("a pointer of git LFS", "the scan itself (git lfs pull?)"),
}


class Head(NamedTuple):
    """header: nibabel's; shape [x, y, z] and dtype as stored; offset: of the first voxel in bytes."""

    header: Any
    shape: tuple[int, ...]
    dtype: np.dtype
    offset: int
    slope: float
    intercept: float


def stem(path: Path) -> str:
    """The name without .nii, .nii.gz or .nii.bz2."""
    return _SUFFIX.sub("", path.name)


def is_scan_name(path: Path) -> bool:
    """A NIfTI suffix, and no `._` before it: so macOS names the metadata beside a file on foreign disks."""
    return bool(_SUFFIX.search(path.name)) and not path.name.startswith("._")


def require_file(path: Path, expected: str = "a .nii or .nii.gz file") -> os.stat_result:
    """What the system says of a plain file; raises InputError for anything else, such as a link to nothing."""
    try:
        found = path.stat()
    except OSError as error:
        if path.is_symlink():
            raise InputError(path, "file", "a link to nothing (datalad get?)", expected) from None
        what = "no such file" if isinstance(error, FileNotFoundError) else error.strerror
        raise InputError(path, "file", what, expected) from None
    if not stat.S_ISREG(found.st_mode):
        what = "a folder" if stat.S_ISDIR(found.st_mode) else "no plain file"
        raise InputError(path, "file", what, expected)
    if found.st_size == 0:
        raise InputError(path, "file", "0 bytes", expected)
    return found


def _open(path: Path) -> IO[bytes]:
    suffix = path.suffix.lower()
    if suffix == ".gz":
        return gzip.open(path)  # type: ignore[return-value]
    return bz2.open(path) if suffix == ".bz2" else path.open("rb")  # type: ignore[return-value]


def read_head(path: Path) -> Head:
    """The header of a 3D NIfTI file; no voxel is read. Raises InputError if it cannot be a scan's."""
    import nibabel

    require_file(path)
    if _PAIR.search(path.name):
        expected = (
            "one .nii or .nii.gz file; `fslchfiletype NIFTI_GZ FILE` or nibabel.save makes one of a pair "
            "(an ANALYZE 7.5 header does not say left from right: set the orientation)"
        )
        raise InputError(path, "format", "one half of an .img/.hdr pair", expected)
    if not _SUFFIX.search(path.name):
        raise InputError(path, "format", path.suffix or "no suffix", _FORMAT)
    with refusing(path, "header", _FORMAT):
        with path.open("rb") as file:
            start = file.read(32)
        for magic, (found, expected) in _STANDINS.items():
            if start.startswith(magic):
                raise InputError(path, "file", found, expected)
        with _open(path) as file:
            raw = file.read(nibabel.Nifti2Header.sizeof_hdr)
        kinds = [k for k in (nibabel.Nifti1Header, nibabel.Nifti2Header) if k.may_contain_header(raw)]
        if not kinds:
            raise InputError(path, "header", "no NIfTI-1 or NIfTI-2 header", _FORMAT)
        header = kinds[0](raw[: kinds[0].sizeof_hdr], check=True)
        shape, dtype = tuple(int(n) for n in header.get_data_shape()), header.get_data_dtype()
        offset = float(header["vox_offset"])
        slope, intercept = header.get_slope_inter()
    first = header.single_vox_offset
    if not first <= offset <= first + MAX_EXTENSIONS:  # 0 would take the header for voxels
        expected = f"{first} to {first + MAX_EXTENSIONS} in a single file; write it anew"
        raise InputError(path, "vox_offset", f"{offset:g}", expected)
    return Head(
        header, _checked_shape(path, shape), dtype, int(offset), 1.0 if slope is None else slope, intercept or 0.0
    )


def _checked_shape(path: Path, shape: tuple[int, ...]) -> tuple[int, ...]:
    trimmed = shape
    while len(trimmed) > 3 and trimmed[-1] == 1:
        trimmed = trimmed[:-1]
    if len(trimmed) != 3:
        raise InputError(path, "shape", f"{len(trimmed)}D {shape}", "a 3D volume (x, y, z)")
    if min(trimmed) < 2:
        kind = "empty" if min(trimmed) < 1 else "2D"
        raise InputError(path, "shape", f"{kind} {shape}", "at least 2 voxels along each of x, y, z")
    require_size(trimmed, path)
    return trimmed


def require_size(shape: tuple[int, ...], where: object, field: str = "shape", hint: str = "resample it first") -> None:
    """Raise InputError where a volume of `shape` is larger than a scan can be."""
    if max(shape) > MAX_AXIS or math.prod(shape) > MAX_VOXELS:
        expected = f"at most {MAX_AXIS} along an axis and {MAX_VOXELS} in all (512 x 512 x 320); {hint}"
        raise InputError(where, field, f"{' x '.join(map(str, shape))} voxels", expected)


def read_voxels(path: Path, head: Head, out: Float[np.ndarray, "x y z"]) -> None:
    """Fill `out`, whose axes are those of the file, with float32 values after scl_slope and scl_inter.

    A few slices are in memory at a time. The file is read to its end, where the checksum of gzip stands:
    a damaged file would give garbage voxels without it.
    """
    from nibabel.volumeutils import apply_read_scaling

    rows, cols, count = head.shape
    plane = rows * cols * head.dtype.itemsize
    step = max(1, _CHUNK // plane)
    with refusing(path, "voxels", "a complete file; copy or download it again"), _open(path) as file:
        file.seek(head.offset)
        for first in range(0, count, step):
            planes = min(step, count - first)
            raw = file.read(planes * plane)
            if len(raw) < planes * plane:
                found = first * plane + len(raw)
                raise EOFError(f"the file ends after {found} of {count * plane} bytes of voxels")
            values = np.frombuffer(raw, head.dtype).reshape(rows, cols, planes, order="F")
            with np.errstate(over="ignore", invalid="ignore"):  # read_volume refuses infinities by name
                out[..., first : first + planes] = apply_read_scaling(values, head.slope, head.intercept)
        behind = 0
        while more := file.read(MAX_BEHIND):
            behind += len(more)
            if behind > MAX_BEHIND:
                expected = "a file as long as its header says"
                raise InputError(path, "voxels", "more than 1 MiB behind the last voxel", expected)
