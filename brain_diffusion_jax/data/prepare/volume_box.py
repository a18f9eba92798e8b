"""Which box of a RAS grid becomes a volume, and how coarse: crop or pad at an offset, then exact box averages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

from brain_diffusion_jax.contract import Contract
from brain_diffusion_jax.data.prepare.nifti import Affine, Grid, Volume
from brain_diffusion_jax.data.prepare.nifti_file import MAX_AXIS, require_size
from brain_diffusion_jax.data.prepare.slicing import resize_weights
from brain_diffusion_jax.errors import InputError

FINDINGS = ("position", "orientation", "skull", "registration", "detail")  # of `checks.scan_checks.check_brain`
_SAME_MM = 1e-3


@dataclass(frozen=True)
class VolumeBox:
    """The box of a volume; `VolumeBox(**config.prepare.volume)`.

    size: voxels (x, y, z) of the grid at prepare.spacing_mm; () is the whole grid. offset: voxel of that grid where
    the box begins, below 0 or beyond the grid padded with 0; () centres the box. spacing_mm: edge of a stored voxel,
    each the mean of the part of the box that it covers (exact, fractions included); 0 stores the grid's own voxels.
    refuse: findings of `check_brain` for which a scan is refused where they are certain; the others are said; ()
    asks nothing, for what is no head. most_outside: fraction of a scan's total intensity that may lie outside the box;
    1 allows everything.
    """

    size: tuple[int, ...] = ()
    offset: tuple[int, ...] = ()
    spacing_mm: float = 0.0
    refuse: tuple[str, ...] = ("position", "orientation", "skull")
    most_outside: float = 0.01

    def __post_init__(self) -> None:
        for name in ("size", "offset"):
            given = tuple(getattr(self, name))
            if len(given) not in (0, 3) or any(v != int(v) or abs(v) > MAX_AXIS for v in given):
                raise InputError("prepare.volume", name, given, "three whole numbers (x, y, z), or ()")
            object.__setattr__(self, name, tuple(int(v) for v in given))
        if self.size and min(self.size) < 2:
            raise InputError("prepare.volume", "size", self.size, "at least 2 voxels along each axis")
        if self.offset and not self.size:
            raise InputError("prepare.volume", "offset", self.offset, "() without prepare.volume.size")
        object.__setattr__(self, "refuse", tuple(self.refuse))
        if unknown := sorted(set(self.refuse) - set(FINDINGS)):
            raise InputError("prepare.volume", "refuse", unknown, f"some of {', '.join(FINDINGS)}, or ()")
        if not 0 <= self.most_outside <= 1:
            raise InputError("prepare.volume", "most_outside", self.most_outside, "a fraction in [0, 1]")

    def placed(self, shape: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """(size, offset) of the box in a grid of `shape`."""
        size = self.size or tuple(shape)
        return size, self.offset or tuple((have - want) // 2 for have, want in zip(shape, size, strict=True))

    def stored(self, grid: Grid, where: object = "prepare.volume") -> Grid:
        """The grid of the stored voxels; InputError where they do not fill the box evenly, or are finer than `grid`."""
        size, offset = self.placed(grid.shape)
        own = np.sqrt((grid.affine[:3, :3] ** 2).sum(0))
        factor = self.spacing_mm / own if self.spacing_mm else np.ones(3)
        if factor.min() < 1 - _SAME_MM:
            found = f"{self.spacing_mm:g} mm on a grid of {own.max():g} mm"
            raise InputError(where, "spacing_mm", found, "0 or a coarser one; prepare.spacing_mm sets the grid's")
        shape = np.array(size) / factor
        if np.abs(shape - np.round(shape)).max() > _SAME_MM or shape.min() < 2:
            found = f"{size} voxels of {own.max():g} mm as voxels of {self.spacing_mm:g} mm"
            raise InputError(where, "size, spacing_mm", found, "a box that whole voxels fill, two along each axis")
        affine = grid.affine.copy()
        affine[:3, 3] += grid.affine[:3, :3] @ (np.array(offset) + (factor - 1) / 2)
        affine[:3, :3] *= factor
        found_shape = tuple(int(n) for n in np.round(shape))
        require_size(found_shape, where, "size", "a smaller prepare.volume.size")
        return Grid(found_shape, affine)

    def cut(self, volume: Volume) -> Volume:
        """The volume's box as stored voxels, in its own unit; InputError where too much of it lies outside."""
        size, offset = self.placed(volume.data.shape)
        grid = self.stored(Grid(volume.data.shape, volume.affine), volume.path)
        box = crop_or_pad(volume.data, size, offset)
        total = float(volume.data.sum(dtype=np.float64))
        outside = 1 - float(box.sum(dtype=np.float64)) / total if total else 0.0
        if outside > self.most_outside:
            raise InputError(
                volume.path,
                "outside the box",
                f"{100 * outside:.2g} % of the scan's intensity (box {size} at {offset} of {volume.data.shape})",
                f"at most {100 * self.most_outside:g} %: another prepare.volume.size or offset, or most_outside",
            )
        return Volume(box_average(box, grid.shape), grid.affine, volume.path)


def crop_or_pad(
    data: Shaped[np.ndarray, "x y z"], size: tuple[int, ...], offset: tuple[int, ...]
) -> Shaped[np.ndarray, "a b c"]:
    """The box of `size` voxels that begins at `offset`; 0 where it leaves the data."""
    out = np.zeros(size, data.dtype)
    source, target = [], []
    for have, want, first in zip(data.shape, size, offset, strict=True):
        low, high = max(first, 0), min(first + want, have)
        source.append(slice(low, max(low, high)))
        target.append(slice(low - first, max(low, high) - first))
    out[tuple(target)] = data[tuple(source)]
    return out


def box_average(data: Float[np.ndarray, "x y z"], shape: tuple[int, ...]) -> Float[np.ndarray, "a b c"]:
    """float32 means over the boxes that voxels of a coarser grid of the same extent cover; the total is kept."""
    if data.shape == tuple(shape):
        return np.asarray(data, np.float32)
    for axis, want in enumerate(shape):
        weights = resize_weights(data.shape[axis], want, "area")
        data = np.moveaxis(np.tensordot(weights, data, (1, axis)), 0, axis)
    return np.ascontiguousarray(data, np.float32)


def require_on_grid(shape: tuple[int, ...], affine: Any, contract: Contract, where: object) -> None:
    """Raise InputError unless a volume of `shape` and `affine` (None: not asked) lies on the contract's grid."""
    if contract.kind != "volumes":
        raise InputError(where, "contract", contract.kind, "volumes")
    if tuple(shape) != contract.image_size:
        raise InputError(where, "shape", tuple(shape), f"{contract.image_size}, the contract's")
    known: Affine | None = None if contract.grid.affine is None else np.array(contract.grid.affine)
    if affine is not None and known is not None and not np.allclose(affine, known, atol=_SAME_MM):
        found = np.round(np.asarray(affine, float)[:3], 3).tolist()
        raise InputError(where, "affine", found, f"{known[:3].tolist()}, the contract's grid")
