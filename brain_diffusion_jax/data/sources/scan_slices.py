"""Scans cut into slices, as a source of shards."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence

import numpy as np

from brain_diffusion_jax import __version__
from brain_diffusion_jax.contract import Contract, Grid, SliceSet
from brain_diffusion_jax.covariates import Continuous
from brain_diffusion_jax.data.prepare.pipeline import Preparation, prepare_volume
from brain_diffusion_jax.data.prepare.slicing import DISPLAY
from brain_diffusion_jax.data.sources.scans import Scans
from brain_diffusion_jax.data.sources.source import Entry, Examples
from brain_diffusion_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class ScanSlices(Scans[Preparation]):
    """The `Source` of a cohort's slices.

    A covariate "slice" of the schema is supplied: as an index, or in mm where the schema says mm.
    """

    def prepare(self, entry: Entry) -> Examples:
        """All slices of a scan [n, rows, cols, 1]."""
        prepared = prepare_volume(entry.path, self.preparation)
        values = {"mm": prepared.positions_mm, "index": prepared.indices}
        return Examples(
            prepared.pictures[..., None],
            np.asarray(prepared.indices, np.int32),
            {"slice": np.asarray(values[self._supplied])} if self._supplied else {},
            prepared.window,
            prepared.warnings,
        )

    def contract(self) -> Contract:
        """Warns where the slices lie beyond the domain of the covariate "slice"."""
        preparation, slicing = self.preparation, self.preparation.slicing
        grid = preparation.fixed_grid()
        size, native = self._sizes()
        facts = Grid("native", spacing_mm=preparation.spacing_mm)
        slices = SliceSet(slicing.axis, "index", slicing.to_json())
        if grid is not None:
            indices = slicing.indices(grid.shape, grid.affine)
            positions = slicing.positions_mm(indices, grid.affine)
            name = preparation.grid if isinstance(preparation.grid, str) else "box"
            facts = Grid(name, grid.shape, tuple(map(tuple, grid.affine.tolist())))
            slices = dataclasses.replace(slices, indices=tuple(indices), positions_mm=tuple(positions))
            self._warn_domain(positions if self._supplied == "mm" else indices)
        return Contract(
            schema=self.schema,
            image_size=size,
            display=DISPLAY[slicing.axis],
            spacing_mm=preparation.spacing_mm,
            grid=facts,
            slices=slices,
            fit=preparation.fitting.section(native if grid is not None else None),
            intensity=preparation.rule.section(),
            stored_dtype=preparation.rule.dtype,
            source=self.description,
            package_version=__version__,
        )

    def _more_key(self) -> list[str]:
        return [self._supplied]

    @property
    def _supplied(self) -> str:
        """The unit in which "slice" is supplied: mm, index, or nothing where the schema has no such covariate."""
        if "slice" not in self.schema.names:
            return ""
        covariate = self.schema["slice"]
        return "mm" if isinstance(covariate, Continuous) and covariate.unit == "mm" else "index"

    def _warn_domain(self, found: Sequence[float]) -> None:
        covariate = self.schema["slice"] if "slice" in self.schema.names else None
        if isinstance(covariate, Continuous) and (min(found) < covariate.low or max(found) > covariate.high):
            warnings.warn(
                f"prepare.slices: found {covariate.unit} {min(found):g} to {max(found):g}; the covariate "
                f"'slice' expects {covariate.low:g} to {covariate.high:g}",
                stacklevel=4,
            )

    def _sizes(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """((rows, cols) stored, (rows, cols) before the fit); the first readable scan speaks for a native grid."""
        grid = self.preparation.fixed_grid()
        if grid is not None:
            cols, rows = (n for axis, n in enumerate(grid.shape) if axis != self.preparation.slicing.dimension)
            return self.preparation.fitting.output_size((rows, cols)), (rows, cols)
        for scan in self.cohort.scans:
            try:
                prepared = prepare_volume(scan.path, self.preparation)
            except InputError as error:
                if not self.drop_bad:
                    raise
                last = error
            else:
                rows, cols = prepared.pictures.shape[1:]
                return (rows, cols), prepared.native_size
        raise last
