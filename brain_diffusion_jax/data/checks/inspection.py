"""Look at every scan of a cohort once: measurements, flags, and small previews."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from brain_diffusion_jax import files
from brain_diffusion_jax.data.checks import detail, quality
from brain_diffusion_jax.data.picture_grid import CUTS_MM, three_planes, voxel_at
from brain_diffusion_jax.data.prepare.nifti import MNI_2MM, Volume, read_volume, resample
from brain_diffusion_jax.data.sources.cohort import Cohort, Scan
from brain_diffusion_jax.errors import InputError, one_line
from brain_diffusion_jax.pixels import to_uint8


@dataclass(frozen=True)
class Inspected:
    """One scan. preview: unit image [109, 291] of three cuts, None where the scan cannot be read."""

    scan: Scan
    assessment: quality.Assessment
    preview: Float[np.ndarray, "rows cols"] | None

    @property
    def flagged(self) -> bool:
        """Whether anything about the scan asks for a look."""
        return bool(self.assessment.flags)

    @property
    def reasons(self) -> str:
        """What asks for a look, in words."""
        return "; ".join(dict.fromkeys(flag.says for flag in self.assessment.flags))


def preview(volume: Volume) -> Float[np.ndarray, "109 291"]:
    """Axial, coronal and sagittal cut side by side, anterior or superior up, person's right on the left."""
    data = resample(volume, MNI_2MM.shape, MNI_2MM.affine).data
    data = np.clip(data / (1.15 * detail.bright_level(data, 95) or 1e-9), 0, 1)
    return three_planes(data, voxel_at(data.shape, MNI_2MM.affine, CUTS_MM))


def inspect_cohort(cohort: Cohort, progress: Callable[[int], None] | None = None) -> tuple[list[Inspected], list[str]]:
    """Every scan of a cohort, in its order, and notes about the cohort as a whole.

    A scan that cannot be read or judged, or lies outside MNI space, is flagged with the reason; so are copies of
    one scan under two names. One volume is in memory at a time.
    """
    read: list[tuple[dict[str, float] | None, Any, str]] = []
    for count, scan in enumerate(cohort.scans):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # faint negatives matter to prepare, not here
                volume = read_volume(scan.path)
            read.append((quality.measure_volume(volume), preview(volume), quality.fingerprint(volume)))
        except InputError as error:
            read.append((None, None, f"{error.field}: found {error.found}; expected {error.expected}"))
        except Exception as error:  # whatever one scan does, the table of the others is written
            read.append((None, None, f"cannot be judged ({one_line(error)})"))
        if progress is not None:
            progress(count + 1)
    assessed, notes = quality.assess([m for m, _, _ in read if m is not None])
    queue = iter(assessed)
    first: dict[str, str] = {}
    inspected = []
    for scan, (measurements, image, text) in zip(cohort.scans, read, strict=True):
        if measurements is None:
            assessment = quality.Assessment({}, (quality.Flag("readable", 0.0, 1.0, text),))
        else:
            assessment = next(queue)
            if first.setdefault(text, scan.scan) != scan.scan:
                copy = quality.Flag("copy", 1.0, 0.0, f"the same voxels as {first[text]}")
                assessment = replace(assessment, flags=(*assessment.flags, copy))
        inspected.append(Inspected(scan, assessment, image))
    return inspected, notes


def table(inspected: Sequence[Inspected], covariates: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the table of scans; numbers with four digits, blank where not measured."""
    names = [*quality.MEASURES, "volume_litres", "neck", "level"]
    header = ["person", "scan", *covariates, "flagged", "reasons", "notes", *names, "file"]
    rows = [
        [
            item.scan.person,
            item.scan.scan,
            *(str(item.scan.covariates.get(name, "")) for name in covariates),
            "1" if item.flagged else "0",
            item.reasons,
            "; ".join(item.assessment.notes),
            *(f"{item.assessment.measurements[n]:.4f}" if n in item.assessment.measurements else "" for n in names),
            str(item.scan.path),
        ]
        for item in inspected
    ]
    return header, rows


def contact_sheet(inspected: Sequence[Inspected], columns: int = 6) -> np.ndarray:
    """All previews with their names, uint8 [rows, cols, 3]; flagged scans come first, framed in red."""
    from PIL import Image, ImageDraw

    order = sorted(range(len(inspected)), key=lambda i: (not inspected[i].flagged, i))
    columns = max(1, min(columns, len(order)))
    height, width, text = 109, 291, 14
    cell = (height + text + 4, width + 4)
    sheet = Image.new("RGB", (cell[1] * columns, cell[0] * -(-len(order) // columns)), (24, 24, 24))
    draw = ImageDraw.Draw(sheet)
    for place, index in enumerate(order):
        item = inspected[index]
        left, top = (place % columns) * cell[1], (place // columns) * cell[0]
        if item.preview is not None:
            sheet.paste(Image.fromarray(to_uint8(item.preview)), (left + 2, top + 2 + text))
        colour = (255, 80, 80) if item.flagged else (220, 220, 220)
        described = " ".join(
            f"{value:g}" if isinstance(value, float) else str(value) for value in item.scan.covariates.values()
        )
        label = files.readable(f"{item.scan.scan} {described} {item.reasons}")
        draw.text((left + 4, top + 2), label[:48], fill=colour)
        if item.flagged:
            draw.rectangle((left, top, left + cell[1] - 1, top + cell[0] - 1), outline=colour, width=2)
    return np.asarray(sheet)
