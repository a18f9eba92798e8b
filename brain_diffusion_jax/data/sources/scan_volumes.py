"""Whole scans as volumes, as a source of shards."""

from __future__ import annotations

import dataclasses

import numpy as np

from brain_diffusion_jax import __version__
from brain_diffusion_jax.contract import Contract, Fit, Grid
from brain_diffusion_jax.data.prepare import nifti
from brain_diffusion_jax.data.prepare.pipeline import Preparation, prepare_whole
from brain_diffusion_jax.data.sources.scans import Scans
from brain_diffusion_jax.data.sources.source import Entry, Examples

DISPLAY = "axes x to the person's right, y to the front, z upwards"


@dataclasses.dataclass(frozen=True)
class ScanVolumes(Scans[Preparation]):
    """The `Source` of a cohort's whole volumes: one example a scan, [1, x, y, z, 1]."""

    def prepare(self, entry: Entry) -> Examples:
        """The scan's volume; raises InputError where it lies off the grid of the contract."""
        made = prepare_whole(entry.path, self.preparation)
        return Examples(made.data[None, ..., None], np.zeros(1, np.int32), {}, made.window, made.warnings)

    def contract(self) -> Contract:
        """Kind "volumes": grid and spacing are those of the stored voxels."""
        preparation, box = self.preparation, self.preparation.box
        grid = preparation.fixed_grid()
        if grid is None:
            # No affine: where a voxel lies differs from scan to scan. Each box is centred in its scan.
            own = preparation.spacing_mm or (1.0, 1.0, 1.0)
            stored = box.stored(nifti.box_grid(box.size, own, (0.0, 0.0, 0.0)))
            facts, fit = Grid("native", spacing_mm=preparation.spacing_mm), Fit("box", size=box.size, method="area")
        else:
            stored = box.stored(grid)
            name = preparation.grid if isinstance(preparation.grid, str) else "box"
            facts = Grid(name, stored.shape, tuple(map(tuple, stored.affine.tolist())))
            cut, offset = box.placed(grid.shape)
            fit = Fit("box", native_size=grid.shape, size=cut, method="area", offset=offset)
        return Contract(
            schema=self.schema,
            image_size=stored.shape,
            kind="volumes",
            display=DISPLAY,
            spacing_mm=tuple(np.diag(stored.affine)[:3].tolist()) if preparation.spacing_mm else (),
            grid=facts,
            fit=fit,
            intensity=preparation.rule.section(),
            stored_dtype=preparation.rule.dtype,
            source=self.description,
            package_version=__version__,
        )
