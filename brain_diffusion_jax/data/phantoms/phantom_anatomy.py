"""The shape of a procedurally made brain: signed distances of every structure, in mm of MNI space.

Coordinates are RAS millimetres of the MNI 2 mm grid (x right, y anterior, z superior). Structures are
ellipsoids, tubes and sheets with hand-set centres and radii; nothing here is derived from a scan.
Distances are positive inside. The cortex is a ribbon under the pial surface, and the pial surface is
the outer hull cut by sulci: sheets perpendicular to the hull along the zero level curves of
band-limited noise, so that gyri meander as in a real brain. The folding is mostly shared between
people and between the two sides, and partly each person's own.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import ndimage

SHAPE = (91, 109, 91)
SPACING_MM = 2.0
ORIGIN_MM = (-90.0, -126.0, -72.0)
# Structures are computed in this box of voxels only; everything outside it is background.
BOX = (slice(6, 85), slice(6, 104), slice(0, 83))
SULCUS_WAVELENGTH_MM = 19.0
_POPULATION_SEED = 2  # the folding that all phantoms share

Array = np.ndarray
Points = tuple[Array, Array, Array]


@dataclass(frozen=True)
class Shape:
    """What makes one person's brain differ from the mean shape.

    scale: size against the mean brain. sulcus_mm: half-width of sulci. cortex_mm: thickness.
    warp_mm: RMS of the smooth deformation. folding: fraction (0 to 1) of folding that is personal.
    """

    scale: float
    ventricle_fraction: float
    sulcus_mm: float
    cortex_mm: float
    warp_mm: float = 1.4
    folding: float = 0.45


@dataclass(frozen=True)
class Anatomy:
    """Tissue fractions [x, y, z] of BOX in [0, 1]; csf + grey + white = head.

    ventricle and third are parts of csf; deep: name -> fraction of the deep grey nuclei (parts of grey).
    """

    head: Array
    csf: Array
    grey: Array
    white: Array
    ventricle: Array
    cerebellum: Array
    deep: dict[str, Array]


def _axes() -> list[Array]:
    return [
        (np.arange(b.start, b.stop) * SPACING_MM + o).astype(np.float32) for b, o in zip(BOX, ORIGIN_MM, strict=True)
    ]


def _box_shape() -> tuple[int, ...]:
    return tuple(b.stop - b.start for b in BOX)


def smooth_field(rng: np.random.Generator, modes: int = 5) -> Array:
    """A smooth random field over BOX with unit RMS: low-order cosines, cheap because separable."""
    coefficients = rng.standard_normal((modes, modes, modes))
    order = np.arange(modes)
    damping = order[:, None, None] ** 2 + order[None, :, None] ** 2 + order[None, None, :] ** 2
    coefficients *= np.exp(-damping / (0.5 * modes**2))
    coefficients[0, 0, 0] = 0.0
    bases = [np.cos(np.pi * order[:, None] * (np.arange(n) + 0.5) / n) for n in _box_shape()]
    field = np.einsum("abc,ax,by,cz->xyz", coefficients, *bases, optimize=True)
    return (field / field.std()).astype(np.float32)


def _band_noise(rng: np.random.Generator, wavelength_mm: float) -> Array:
    """Noise over BOX with unit RMS and one dominant wavelength."""
    shape = _box_shape()
    frequency = np.sqrt(
        sum(
            np.square(f)
            for f in np.meshgrid(
                np.fft.fftfreq(shape[0], SPACING_MM),
                np.fft.fftfreq(shape[1], SPACING_MM),
                np.fft.rfftfreq(shape[2], SPACING_MM),
                indexing="ij",
                sparse=True,
            )
        )
    )
    band = np.exp(-0.5 * np.square((frequency * wavelength_mm - 1.0) / 0.22))
    noise = np.fft.irfftn(np.fft.rfftn(rng.standard_normal(shape, np.float32)) * band, s=shape, axes=(0, 1, 2))
    return (noise / noise.std()).astype(np.float32)


@lru_cache(maxsize=1)
def _population_noise() -> tuple[Array, Array]:
    rng = np.random.default_rng(_POPULATION_SEED)
    return _band_noise(rng, SULCUS_WAVELENGTH_MM), _band_noise(rng, 70.0)


def _at(field: Array, points: Points) -> Array:
    """Linear interpolation of a BOX field at mm points."""
    index = np.stack([(p - a[0]) / SPACING_MM for p, a in zip(points, _axes(), strict=True)])
    return ndimage.map_coordinates(field, index, order=1, mode="nearest")


def _ellipsoid(points: Points, centre: tuple[float, ...], radii: tuple[float, ...]) -> Array:
    """First-order distance to an ellipsoid's surface, positive inside."""
    scaled = [(p - c) / r for p, c, r in zip(points, centre, radii, strict=True)]
    k0 = np.sqrt(sum(s * s for s in scaled) + 1e-6)
    k1 = np.sqrt(sum((s / r) ** 2 for s, r in zip(scaled, radii, strict=True)) + 1e-9)
    return k0 * (1.0 - k0) / k1


def _tube(points: Points, path: tuple[tuple[float, float, float, float], ...]) -> tuple[Array, Array]:
    """Smallest distance / radius to a polyline of (x, y, z, radius), and the radius there."""
    best = np.full(points[0].shape, np.inf, np.float32)
    radius = np.ones_like(best)
    for start, end in itertools.pairwise(path):
        along = [e - s for s, e in zip(start[:3], end[:3], strict=True)]
        offset = [p - s for p, s in zip(points, start[:3], strict=True)]
        t = np.clip(sum(o * a for o, a in zip(offset, along, strict=True)) / sum(a * a for a in along), 0, 1)
        here = start[3] + t * (end[3] - start[3])
        distance = np.sqrt(sum((o - t * a) ** 2 for o, a in zip(offset, along, strict=True))) / here
        closer = distance < best
        best, radius = np.where(closer, distance, best), np.where(closer, here, radius)
    return best, radius


def _union(first: Array, second: Array, softness_mm: float) -> Array:
    """Smooth maximum of two inside-positive distances."""
    blend = np.clip(0.5 + 0.5 * (first - second) / softness_mm, 0, 1)
    return second + (first - second) * blend + softness_mm * blend * (1 - blend)


def _fraction(distance: Array, voxel_mm: float = SPACING_MM) -> Array:
    """Partial volume of a surface: the fraction of a voxel on the positive side."""
    return np.clip(0.5 + distance / voxel_mm, 0, 1)


def _slab_fraction(distance: Array, half_width: Array) -> Array:
    """Fraction of a voxel taken by a sheet of the given half-width at `distance` from its middle."""
    half = 0.5 * SPACING_MM
    inside = np.minimum(half_width, distance + half) - np.maximum(-half_width, distance - half)
    return np.clip(inside, 0, None) / SPACING_MM


def _cerebrum(side: Points) -> Array:
    """Hull of the two hemispheres with temporal lobes. side: (|x|, y, z)."""
    x, y, z = side
    z = z + 0.0022 * (y + 20.0) ** 2  # poles lie lower than the vertex
    x = x / (1.0 - 0.0008 * np.clip(y + 10.0, -20, None))  # narrower in front
    y = -17.0 + 90.0 * np.sign(y + 17.0) * np.abs((y + 17.0) / 90.0) ** 1.32  # blunt poles
    up = _ellipsoid((x, y, z), (0, -17, 12), (69, 90, 69))
    down = _ellipsoid((x, y, z), (0, -17, 12), (69, 90, 40))
    dome = np.where(z > 12, up, down)
    temporal = _ellipsoid((side[0], side[1], side[2] + 0.25 * (side[1] + 14)), (45, -20, -22), (24, 43, 24))
    hull = _union(dome, temporal, 6.0)
    back, front = np.clip(-45.0 - side[1], 0, None), np.clip(side[1] + 34.0, 0, None)
    tentorium = side[2] + 5.0 + 0.30 * back + 0.42 * side[0] + 2.0 * front
    hull = -_union(-hull, -tentorium, 4.0)
    basal = _ellipsoid(side, (0, -2, -34), (17, 14, 17))
    return -_union(-hull, basal, 4.0)


def _core(side: Points) -> Array:
    """Distance into the midline block (callosum to brainstem) that the fissure does not cut."""
    flat = np.zeros_like(side[0])
    upper = _ellipsoid((flat, side[1], side[2]), (0, -8, 3), (1e3, 40, 28))
    lower = _ellipsoid((flat, side[1], side[2]), (0, -14, -12), (1e3, 20, 14))
    return _union(upper, lower, 4.0)


def _sulcal_distance(
    side: Points, points: Points, hull: Array, rng: np.random.Generator, own: float
) -> tuple[Array, Array]:
    """Distance (mm) to the nearest folded sheet, perpendicular to the hull, and to the lateral fissure."""
    gradient = np.gradient(hull, SPACING_MM)
    length = np.sqrt(sum(g * g for g in gradient)) + 1e-3
    shift = np.clip(hull, -4, 30) / length
    bend = [1.6 * smooth_field(rng, 14) for _ in range(3)]  # sheets curve on their way in
    foot = tuple(p - 0.8 * shift * g + b for p, g, b in zip(points, gradient, bend, strict=True))
    shared = _population_noise()[0]
    noise = np.sqrt(1 - own**2) * _at(shared, (np.abs(foot[0]), foot[1], foot[2]))
    noise += own * _at(_band_noise(rng, SULCUS_WAVELENGTH_MM), foot)
    slope = np.sqrt(sum(g * g for g in np.gradient(noise, SPACING_MM)))
    distance = np.abs(noise) / np.maximum(slope, 0.10)
    # The lateral (Sylvian) fissure and the sheet over the insula are in every brain.
    x, y, z = side
    sylvian_z = 3.0 - 0.36 * y
    lateral = np.sqrt(
        (0.94 * (z - sylvian_z)) ** 2
        + np.clip(37 - x, 0, None) ** 2
        + np.clip(y - 27, 0, None) ** 2
        + np.clip(-36 - y, 0, None) ** 2
    )
    insula = np.sqrt(
        (x - 37 - 0.05 * (y - 2) ** 2 / 10) ** 2
        + np.clip(np.abs(y - 3) - 19, 0, None) ** 2
        + np.clip(np.abs(z - sylvian_z) - 13, 0, None) ** 2
    )
    return distance, np.minimum(lateral, insula)


VENTRICLE_BODY = (
    (15, 30, 9, 3.4),
    (10, 20, 17, 4.6),
    (6.5, 3, 21, 4.4),
    (10, -16, 25, 4.2),
    (20, -35, 20, 5.4),
    (26, -45, 9, 5.8),
)
VENTRICLE_FRONTAL = ((13, 29, 3, 3.0), (6.5, 10, 11, 3.6), (6.5, 3, 21, 4.0))
VENTRICLE_OCCIPITAL = ((26, -45, 9, 5.4), (25, -56, 5, 3.4), (22, -70, 3, 2.0))
VENTRICLE_TEMPORAL = ((26, -45, 9, 4.6), (34, -33, -6, 2.4), (32, -12, -18, 2.0))


def _ventricles(side: Points, head_voxels: float, fraction: float) -> Array:
    """Distance into the lateral ventricles, grown until they fill `fraction` of the head."""
    parts = [_tube(side, path) for path in (VENTRICLE_BODY, VENTRICLE_FRONTAL, VENTRICLE_OCCIPITAL, VENTRICLE_TEMPORAL)]
    level, radius = parts[0]
    for other, other_radius in parts[1:]:
        radius = np.where(other < level, other_radius, radius)
        level = np.minimum(level, other)
    wanted = max(round(fraction * head_voxels), 1)
    growth = np.partition(level.ravel(), wanted)[wanted]
    return (growth - level) * radius


def _deep_grey(side: Points) -> dict[str, Array]:
    x, y, z = side
    tail, tail_radius = _tube(side, ((14, 14, 13, 5.6), (15.5, -2, 20, 4.6), (19, -20, 23, 3.2), (26, -33, 19, 1.8)))
    caudate = _union(_ellipsoid(side, (12.5, 14, 7), (5.5, 9.5, 8.5)), (1 - tail) * tail_radius, 2.0)
    hippocampus, radius = _tube(side, ((24, -8, -21, 7.5), (28, -22, -15, 5.5), (26, -36, -4, 4.0)))
    return {
        "caudate": caudate,
        "putamen": _ellipsoid((x - 0.20 * np.clip(4 - y, -20, 20), y, z), (25.5, 4, 1), (5.5, 16, 10)),
        "pallidum": _ellipsoid((x - 0.25 * np.clip(-2 - y, -20, 20), y, z), (18.5, -3, -1), (4.5, 9, 6.5)),
        "thalamus": _ellipsoid((x - 0.35 * np.clip(-18 - y, -20, 20), y, z), (11, -18, 7), (8.5, 14.5, 9)),
        "hippocampus": (1 - hippocampus) * radius,
    }


def _cerebellum(side: Points, rng: np.random.Generator) -> tuple[Array, Array]:
    """Distance into the cerebellum, and the white fraction in it (arbor and folia)."""
    x, y, z = side
    lobe = _ellipsoid((x, y, z + 0.20 * x), (26, -61, -31), (31, 33, 26))
    vermis = _ellipsoid(side, (0, -62, -24), (13, 24, 24))
    hull = _union(lobe, vermis, 5.0)
    radius = np.sqrt((0.55 * x) ** 2 + (y + 40) ** 2 + (1.25 * (z + 30)) ** 2)
    folia = np.cos(2 * np.pi * (radius + 2.0 * smooth_field(rng, 7)) / 6.4)
    arbor = _ellipsoid(side, (17, -56, -35), (13, 11, 6.5))
    stem = np.clip(1.2 - hull / 14.0, 0, 1)
    white = np.maximum(_fraction(arbor, 5.0), np.clip(0.55 * folia + 0.9 - 1.2 * stem, 0, 0.8) * _fraction(hull - 4.0))
    return hull, white


def _brainstem(side: Points) -> Array:
    midbrain = _ellipsoid(side, (0, -23, -12), (17, 12, 12))
    pons = _ellipsoid(side, (0, -26, -34), (17, 13, 15))
    medulla, radius = _tube(side, ((0, -32, -44, 9.5), (0, -41, -70, 7.5)))
    peduncle = _ellipsoid(side, (17, -40, -35), (11, 13, 7))
    stem = _union(midbrain, pons, 4.0)
    return _union(_union(stem, (1 - medulla) * radius, 4.0), peduncle, 3.0)


def build(shape: Shape, rng: np.random.Generator) -> Anatomy:
    """Grow one brain: structures at warped points, with partial volumes."""
    grid = np.meshgrid(*_axes(), indexing="ij")
    centre = (0.0, -18.0, 6.0)
    points: Points = tuple(  # type: ignore[assignment]
        (g - c) / shape.scale + c + shape.warp_mm * smooth_field(rng) for g, c in zip(grid, centre, strict=True)
    )
    side: Points = (np.abs(points[0]), points[1], points[2])

    cerebrum, core = _cerebrum(side), _core(side)
    cerebellum, arbor = _cerebellum(side, rng)
    brainstem = _brainstem(side)
    fissure = np.sqrt(side[0] ** 2 + np.clip(core, 0, None) ** 2)
    fissure_half = 0.5 + 0.6 * shape.sulcus_mm
    sulcus, fixed = _sulcal_distance(side, points, np.minimum(cerebrum, fissure), rng, shape.folding)

    # Sulci reach 8 to 22 mm below the hull, and not into the deep white matter.
    hull = np.minimum(cerebrum, fissure)
    medial = np.clip((cerebrum - fissure) / 6.0, 0, 1)
    reach = 25.0 - 12.0 * medial + 3.0 * _at(_population_noise()[1], side) + 2.0 * smooth_field(rng, 7)
    deep_zone = _ellipsoid(side, (0, -14, 8), (33, 52, 25))
    below = np.maximum(np.clip(hull - np.clip(reach, 6, 32), 0, None), np.clip(deep_zone + 3.0, 0, None))
    sheet = np.minimum(fixed, np.hypot(sulcus, below))
    half = shape.sulcus_mm * (0.75 + 0.7 * np.clip(1 - hull / 14.0, 0, 1)) + 0.8 * np.clip(1 - cerebrum / 4.0, 0, 1)
    pial = np.minimum(np.minimum(cerebrum, fissure - fissure_half), sheet - half)

    hemispheres = _fraction(cerebrum)
    csf = np.maximum(_slab_fraction(sheet, half), _slab_fraction(fissure, np.full_like(fissure, fissure_half)))
    bare = np.clip((core + 1.0) / 2.0, 0, 1)  # callosum and brainstem carry no cortex
    crown = np.clip(1 - cerebrum / 8.0, 0, 1)
    ribbon = (shape.cortex_mm + 1.2 * crown) * (1 - bare * _fraction(9.0 - side[0], 4.0))
    white = _fraction(pial - ribbon)

    # Deep grey, then ventricles, replace what lies there.
    outer = np.maximum(np.maximum(cerebrum, cerebellum), brainstem)
    head = _fraction(outer + 1.0)
    deep = {name: _fraction(d, 2.5) * (cerebrum > 0) for name, d in _deep_grey(side).items()}
    nuclei = np.clip(sum(deep.values()), 0, 1)
    white = white * (1 - nuclei)
    csf = csf * hemispheres * (1 - nuclei)
    white = white * hemispheres * (1 - csf)
    in_cerebellum = _fraction(cerebellum) * (1 - hemispheres)
    white = np.maximum(white, in_cerebellum * arbor)
    in_stem = _fraction(brainstem) * np.where(core > 0, 1.0, 1 - hemispheres)
    white = white * (1 - in_stem) + 0.9 * in_stem
    csf = np.maximum(csf * (1 - in_stem), head - np.maximum(np.maximum(hemispheres, in_cerebellum), in_stem))

    ventricle_distance = _ventricles(side, float(head.sum()), shape.ventricle_fraction)
    ventricle = _fraction(ventricle_distance)
    third_half = 0.6 + 60.0 * shape.ventricle_fraction
    third = _slab_fraction(side[0], np.full_like(fissure, third_half)) * _fraction(
        _ellipsoid((np.zeros_like(side[0]), side[1], side[2]), (0, -9, -1), (1e3, 15, 9))
    )
    fourth = _fraction(_ellipsoid(side, (0, -41, -32), (7, 4.5, 9)))
    cistern = _fraction(_ellipsoid(side, (0, -40, -2), (6, 4, 7)))
    fluid = np.maximum(np.maximum(np.maximum(third, fourth), cistern), ventricle)
    csf = np.maximum(csf, fluid) * head
    white = np.minimum(white * (1 - fluid), head - csf)
    grey = np.clip(head - csf - white, 0, 1)
    deep = {name: part * (1 - fluid) for name, part in deep.items()}
    return Anatomy(head, csf, grey, white, ventricle * head, in_cerebellum, deep)
