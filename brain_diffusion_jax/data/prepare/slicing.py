"""Which slices are cut from a RAS volume, how they are turned for display, and how they are fitted.

plane: as cut from the volume; image: as displayed and stored, [rows, cols].
Axial: row 0 anterior, column 0 the person's right (radiological). Coronal: row 0 superior, column
0 the person's right. Sagittal: row 0 superior, column 0 anterior.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

from brain_diffusion_jax import contract
from brain_diffusion_jax.data.prepare.nifti import Volume
from brain_diffusion_jax.data.prepare.nifti_file import MAX_AXIS
from brain_diffusion_jax.errors import InputError, require_one_of

AXES = {"sagittal": 0, "coronal": 1, "axial": 2}
DISPLAY = {
    "axial": "row 0 anterior, column 0 the person's right (radiological)",
    "coronal": "row 0 superior, column 0 the person's right (radiological)",
    "sagittal": "row 0 superior, column 0 anterior",
}
RULES = ("range_index", "range_mm", "list_index", "list_mm", "reference_r1", "deepbrainnet")
FIT_RULES = ("none", "pad", "crop", "pad_crop", "resize")
FIT_METHODS = ("area", "bilinear")


def to_display(planes: Shaped[np.ndarray, "*n a b"]) -> Shaped[np.ndarray, "*n b a"]:
    """Planes of a RAS volume (the two kept axes in x, y, z order) as the images that a reader sees."""
    return planes[..., ::-1, ::-1].swapaxes(-1, -2)


def from_display(images: Shaped[np.ndarray, "*n rows cols"]) -> Shaped[np.ndarray, "*n cols rows"]:
    """The inverse of `to_display`."""
    return images.swapaxes(-1, -2)[..., ::-1, ::-1]


@dataclass(frozen=True)
class Slicing:
    """axis: axial, coronal or sagittal. rule: one of RULES.

    range_index: start, start + step ... < stop, in voxels. range_mm: start to stop, both included,
    every `step` mm of world position. list_index, list_mm: `values`. reference_r1: the 40 slices
    n//2 - 20 .. n//2 + 19 of the reference system. deepbrainnet: the 80 slices 45..124 of the MNI 1 mm grid,
    on any grid of 1 mm found by position, -27..52 mm (Bashyam et al. 2020).
    """

    axis: str = field(default="axial", metadata={"config": False})  # prepare.axis
    rule: str = "range_index"
    start: float = 25.0
    stop: float = 65.0
    step: float = 1.0
    values: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", tuple(float(v) for v in self.values))
        require_one_of(self.axis, AXES, "prepare", "axis")
        require_one_of(self.rule, RULES, "prepare.slices", "rule")
        found = (self.start, self.stop, self.step)
        if self.rule.startswith("range") and (self.step <= 0 or self.stop <= self.start):
            raise InputError("prepare.slices", "start, stop, step", found, "start < stop and step > 0")
        if self.rule.startswith("list") and not self.values:
            raise InputError("prepare.slices", "values", "nothing", f"the slices of the rule {self.rule!r}")
        whole = {"range_index": (self.start, self.stop, self.step), "list_index": self.values}.get(self.rule, ())
        if any(v != int(v) for v in whole):
            raise InputError("prepare.slices", self.rule, whole, "whole numbers, or the rule in mm")

    @property
    def dimension(self) -> int:
        """The axis of a volume that is cut across."""
        return AXES[self.axis]

    def indices(self, shape: tuple[int, ...], affine: np.ndarray, where: object = "prepare.slices") -> list[int]:
        """Voxel indices along the axis, ascending as the rule gives them; InputError beyond the grid."""
        count = shape[self.dimension]
        spacing, origin = float(affine[self.dimension, self.dimension]), float(affine[self.dimension, 3])
        if self.rule == "deepbrainnet" and abs(spacing - 1) > 0.01:
            raise InputError(where, "spacing", f"{spacing:g} mm", "1 mm for the rule 'deepbrainnet'")
        positions: dict[str, Sequence[float]] = {
            "list_mm": self.values,
            "range_mm": np.arange(self.start, self.stop + 1e-6, self.step).tolist(),
            "deepbrainnet": [k - 72.0 for k in range(45, 125)],
        }
        if self.rule == "range_index":
            indices = list(range(int(self.start), int(self.stop), int(self.step)))
        elif self.rule == "list_index":
            indices = [int(v) for v in self.values]
        elif self.rule == "reference_r1":
            indices = list(range(count // 2 - 20, count // 2 + 20))
        else:
            indices = [round((p - origin) / spacing) for p in positions[self.rule]]
            if len(set(indices)) != len(indices):
                raise InputError(where, "step", f"two positions in one slice of {spacing:g} mm", "a wider step")
        beyond = [k for k in indices if not 0 <= k < count]
        if beyond:
            raise InputError(where, f"{self.axis} slices", beyond, f"indices in 0..{count - 1} of the grid {shape}")
        return indices

    def positions_mm(self, indices: list[int], affine: np.ndarray) -> list[float]:
        """World position of each slice along its axis (exact for axis-aligned grids)."""
        spacing, origin = affine[self.dimension, self.dimension], affine[self.dimension, 3]
        return [float(origin + spacing * k) for k in indices]

    def to_json(self) -> dict[str, Any]:
        """The keys that `Slicing` takes, for the contract."""
        return asdict(self) | {"values": list(self.values)}


@dataclass(frozen=True)
class Fit:
    """How a native image becomes (rows, cols) = size: none, pad, crop, pad_crop (centred, 0
    outside) or resize (area averages what falls into a pixel; bilinear is sharper, no averaging).
    """

    rule: str = "none"
    size: tuple[int, int] | None = None
    method: str = "area"

    def __post_init__(self) -> None:
        require_one_of(self.rule, FIT_RULES, "prepare.fit", "rule")
        require_one_of(self.method, FIT_METHODS, "prepare.fit", "method")
        if self.rule == "none":
            return
        size = tuple(int(v) for v in self.size or ())
        if len(size) != 2 or min(size) < 1 or max(size) > MAX_AXIS:
            raise InputError("prepare.fit", "size", self.size, f"(rows, cols), each at most {MAX_AXIS}")
        object.__setattr__(self, "size", size)

    @classmethod
    def of(cls, section: contract.Fit) -> Fit:
        """The fit that a contract tells of."""
        size = (section.size[0], section.size[1]) if section.size else None
        return cls(section.rule or "none", size, section.method or "area")

    def output_size(self, native: tuple[int, int]) -> tuple[int, int]:
        """(rows, cols) of slices that are `native` before the fit."""
        return native if self.rule == "none" or self.size is None else self.size

    def apply(self, images: Float[np.ndarray, "n rows cols"], where: object = "scan"):
        """Pictures [n, rows, cols] at `size`; raises InputError where pad or crop cannot reach it."""
        native = images.shape[1:]
        target = self.output_size(native)
        if target == native:
            return images
        larger = [a > b for a, b in zip(target, native)]
        if (self.rule == "pad" and any(a < b for a, b in zip(target, native))) or (self.rule == "crop" and any(larger)):
            other = "smaller" if self.rule == "pad" else "larger"
            raise InputError(where, "picture size", native, f"nowhere {other} than {target} for fit {self.rule!r}")
        if self.rule == "resize":
            return resize(images, target, self.method)
        return centre(images, target)

    def unapply(self, images: Float[np.ndarray, "n rows cols"], native: tuple[int, int]):
        """Back to the native size; what was cropped off is 0, what was resized stays smoothed."""
        if images.shape[1:] == tuple(native):
            return images
        return resize(images, native, "bilinear") if self.rule == "resize" else centre(images, native)

    def section(self, native: tuple[int, int] | None) -> contract.Fit:
        """For Contract.fit; native: (rows, cols) of all slices, None where they differ from scan to scan."""
        size = None if self.rule == "none" else self.size
        return contract.Fit(self.rule, native, size, self.method if self.rule == "resize" else None)


def centre(images: Shaped[np.ndarray, "n rows cols"], size: tuple[int, ...]) -> Shaped[np.ndarray, "n r c"]:
    """Pad with 0 or crop each axis about its centre; the exact inverse of itself where nothing is cropped."""
    out = np.zeros((len(images), *size), images.dtype)
    source, target = [slice(None)], [slice(None)]
    for have, want in zip(images.shape[1:], size):
        width = min(have, want)
        # The odd pixel goes to the end when padding and comes off the end when cropping.
        source.append(slice((have - width) // 2, (have - width) // 2 + width))
        target.append(slice((want - width) // 2, (want - width) // 2 + width))
    out[tuple(target)] = images[tuple(source)]
    return out


def resize_weights(have: int, want: int, method: str) -> np.ndarray:
    """[want, have] interpolation weights of one axis, rows sum to 1; pixels are boxes of equal width."""
    scale = have / want
    rows = np.arange(want)[:, None]
    columns = np.arange(have)[None, :]
    if method == "area" and scale > 1:
        overlap = np.minimum(columns + 1, (rows + 1) * scale) - np.maximum(columns, rows * scale)
        weights = np.maximum(overlap, 0)
    else:
        position = np.clip((rows + 0.5) * scale - 0.5, 0, have - 1)
        weights = np.maximum(0, 1 - np.abs(columns - position))
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)


def resize(images: Float[np.ndarray, "n rows cols"], size: tuple[int, ...], method: str) -> np.ndarray:
    """Separable resize, float32; area means an exact box average where an axis shrinks, else bilinear."""
    rows = resize_weights(images.shape[1], size[0], method)
    cols = resize_weights(images.shape[2], size[1], method)
    return np.einsum("rR,nRC,cC->nrc", rows, np.asarray(images, np.float32), cols, optimize=True)


def pictures_from_volume(
    volume: Volume, slicing: Slicing, fit: Fit | None = None
) -> tuple[np.ndarray, list[int], tuple[int, int]]:
    """(images [n, rows, cols] in the volume's unit, slice indices, native (rows, cols))."""
    fit = fit or Fit()
    indices = slicing.indices(volume.data.shape, volume.affine, volume.path)
    planes = np.moveaxis(np.take(volume.data, indices, axis=slicing.dimension), slicing.dimension, 0)
    images = to_display(planes)
    native = (int(images.shape[1]), int(images.shape[2]))
    return np.ascontiguousarray(fit.apply(images, volume.path)), indices, native


def place_in_volume(
    images: Shaped[np.ndarray, "n rows cols"],
    indices: list[int],
    shape: tuple[int, int, int],
    axis: str,
    fit: Fit | None = None,
) -> Shaped[np.ndarray, "x y z"]:
    """Put images back where they were cut: a RAS volume of `shape`, 0 where no image lies."""
    dimension = AXES[axis]
    kept = [n for d, n in enumerate(shape) if d != dimension]
    native = (kept[1], kept[0])
    images = (fit or Fit()).unapply(np.asarray(images), native)
    if images.shape[1:] != native:
        raise InputError("pictures", "size", images.shape[1:], f"{native}, an {axis} slice of the grid {shape}")
    volume = np.zeros(shape, images.dtype)
    np.moveaxis(volume, dimension, 0)[indices] = from_display(images)
    return volume
