"""Blur, missing and repeated planes, masks and another unit are named; an acquired scan has none of them."""

from __future__ import annotations

import numpy as np
import pytest
from corrupted_scans import CORRUPTIONS

from brain_diffusion_jax.data.checks import detail, quality, scan_checks
from brain_diffusion_jax.data.phantoms import phantom
from brain_diffusion_jax.data.prepare.nifti import MNI_2MM, Volume

FLAGGED_BY = {
    "blur, sigma 2 mm": "sharpness",
    "blur, sigma 6 mm": "sharpness",
    "every second slice black": "gaps",
    "every third slice black": "gaps",
    "every second slice repeated": "repeats",
    "binary brain mask": "few_values",
}


@pytest.fixture(scope="module")
def brain():
    return np.asarray(phantom.make_person(50, "M", np.random.default_rng(1))[0], np.float32)


def names(data) -> list[str]:
    (assessed,) = quality.assess([quality.measure_volume(Volume(data, MNI_2MM.affine))])[0]
    return [f.measure for f in assessed.flags]


def test_a_whole_scan_passes(brain):
    assert names(brain) == []


@pytest.mark.parametrize("corruption", FLAGGED_BY)
def test_a_corruption_is_named(corruption, brain):
    corrupted = np.asarray(CORRUPTIONS[corruption](brain), np.float32)
    assert FLAGGED_BY[corruption] in names(corrupted)
    findings = scan_checks.check_brain(Volume(corrupted, MNI_2MM.affine))
    (found,) = [f.found for f in findings if f.kind == "detail"]
    assert quality.MEASURES[FLAGGED_BY[corruption]].says in found
    still = scan_checks.check_brain(Volume(corrupted, MNI_2MM.affine), ignore=(FLAGGED_BY[corruption],))
    assert not any(FLAGGED_BY[corruption] in f.found for f in still)


def test_an_empty_volume_has_no_detail():
    assert detail.measure(Volume(np.zeros((9, 9, 9), np.float32), np.eye(4)))["few_values"] == 1.0


def test_one_scan_in_another_unit_stands_out_of_its_cohort(brain):
    usual = quality.measure_volume(Volume(brain, MNI_2MM.affine))
    rng = np.random.default_rng(0)
    cohort = [dict(usual, level=usual["level"] * rng.uniform(0.9, 1.1)) for _ in range(30)]
    cohort[4] = dict(usual, level=usual["level"] / 2.55)
    assessed, notes = quality.assess(cohort)
    assert [i for i, a in enumerate(assessed) if a.flags] == [4]
    assert "another unit" in assessed[4].flags[0].says
    assert notes == []
    # A scanner's own unit differs from scan to scan: nothing stands out there.
    wild = [dict(usual, level=usual["level"] * 2 ** rng.uniform(-2, 2)) for _ in range(30)]
    assert not any(a.flags for a in quality.assess(wild)[0])
