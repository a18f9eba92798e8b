"""A scan becomes slices [n, rows, cols, 1] with its covariates, and the contract says where they were cut."""

from __future__ import annotations

import numpy as np
import pytest
from small_cohort import PREPARE, SCHEMA, SHAPE, brain, write_bids, write_scan

from brain_diffusion_jax.covariates import Schema
from brain_diffusion_jax.data.prepare.pipeline import Preparation
from brain_diffusion_jax.data.sources.cohort import CohortSpec, read_cohort
from brain_diffusion_jax.data.sources.scan_slices import ScanSlices
from brain_diffusion_jax.errors import InputError


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    root = write_bids(tmp_path_factory.mktemp("cohort"), people=2)
    return read_cohort(CohortSpec(root=str(root)), SCHEMA)


def source(cohort, schema=SCHEMA, **prepare) -> ScanSlices:
    return ScanSlices(cohort, Preparation(**PREPARE | prepare), schema, "ellipsoids")


def in_mm(low: float, high: float) -> Schema:
    return Schema.from_json([{"name": "slice", "unit": "mm", "low": low, "high": high}])


def test_slices_are_those_of_the_scan(cohort):
    made = source(cohort)
    first, _ = made.entries()
    assert (first.id, first.group, first.conditions) == ("sub-00", "sub-00", {"age": 20.0, "sex": "F"})
    examples = made.prepare(first)
    assert examples.images.shape == (4, SHAPE[1], SHAPE[0], 1)
    np.testing.assert_array_equal(examples.indices, [7, 8, 9, 10])
    np.testing.assert_array_equal(examples.supplied["slice"], [7, 8, 9, 10])
    # Row 0 anterior, column 0 the person's right, 255 for the fixed window's 200.
    wanted = np.rint(np.clip(brain(0)[::-1, ::-1, 8].T / 200, 0, 1) * 255)
    assert np.abs(examples.images[1, ..., 0].astype(float) - wanted).max() <= 1


def test_the_slice_is_supplied_in_the_unit_of_the_schema(cohort):
    made = source(cohort, in_mm(-20, 60))
    np.testing.assert_allclose(made.prepare(made.entries()[0]).supplied["slice"], [-2, 8, 18, 28])
    without = source(cohort, Schema(SCHEMA.covariates[:2]))
    assert without.prepare(without.entries()[0]).supplied == {}


def test_the_contract_knows_grid_slices_and_fit(cohort):
    known = source(cohort, fit={"rule": "pad", "size": (24, 20)}).contract()
    assert known.shape == (24, 20, 1)
    assert known.grid.shape == SHAPE
    assert known.slices.indices == (7, 8, 9, 10)
    assert known.slices.positions_mm == (-2, 8, 18, 28)
    assert known.fit.native_size == (22, 19)
    assert known.source == "ellipsoids"
    with pytest.warns(UserWarning, match="found mm -2 to 28; the covariate 'slice' expects 0 to 20"):
        source(cohort, in_mm(0, 20)).contract()


def test_on_a_native_grid_the_first_readable_scan_gives_the_size(cohort, tmp_path):
    broken = tmp_path / "broken.nii.gz"
    broken.write_bytes(b"no scan")
    first = cohort.scans[0]._replace(path=broken)
    scans = (first, cohort.scans[1]._replace(path=write_scan(tmp_path / "whole.nii.gz", brain(1)[:, :20])))
    native = {"grid": "native", "bad_scans": "drop"}
    known = source(cohort._replace(scans=scans), **native).contract()
    assert known.image_size == (20, 19)
    assert known.grid.shape is None
    assert known.slices.indices is None
    with pytest.raises(InputError, match=r"broken.nii.gz"):
        source(cohort._replace(scans=scans[:1]), **native).contract()


def test_a_part_has_another_name_where_file_or_preparation_differ(cohort, tmp_path):
    made = source(cohort)
    entry = made.entries()[0]
    moved = entry._replace(path=write_scan(tmp_path / "copy.nii.gz", brain(0)))
    names = {s.part_name(e) for s, e in ((made, entry), (made, moved), (source(cohort, axis="coronal"), entry))}
    assert len(names) == 3
    assert made.part_name(entry) == source(cohort).part_name(entry)
    with pytest.raises(InputError, match=r"gone.nii: file: found no such file"):
        made.part_name(entry._replace(path=tmp_path / "gone.nii"))
