"""What is inside an outline tells which way a brain lies, and the message says so."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from corrupted_scans import TURNS, box, lying, rotation, tissue_points

from brain_diffusion_jax.data.checks import orientation, quality, scan_checks
from brain_diffusion_jax.data.phantoms import phantom
from brain_diffusion_jax.data.prepare.nifti import MNI_2MM, Volume, read_volume


@pytest.fixture(scope="module")
def people():
    return [phantom.make_person(age, "F", np.random.default_rng(age))[0] for age in (24, 78)]


def measured(data):
    return quality.measure(quality.coarse(Volume(data, MNI_2MM.affine)))


def test_turned_brains_that_fill_an_upright_outline_are_flagged(people):
    outline = box(tissue_points(people[1]))
    for axis, angle in TURNS.values():
        values = measured(lying(people[0], rotation(axis, angle), outline))
        flags = quality.assess([values])[0][0].flags
        assert "upright" in [f.measure for f in flags], (axis, angle)


def test_upright_brains_lead_clearly_also_where_grey_is_brighter_than_white(people):
    for data in people:
        assert measured(data)["upright"] > 2 * quality.MEASURES["upright"].limit
        assert measured(np.where(data > 0.4, 1.5 - data, 0))["upright"] > 0


def test_the_message_names_the_direction(people):
    on_its_back = lying(people[0], rotation(0, 90), box(tissue_points(people[0])))
    values = measured(on_its_back)
    (flag,) = [f for f in quality.assess([values])[0][0].flags if f.measure == "upright"]
    # The turn takes z to -y and y to z: the array's y runs down, its z to the front.
    assert "R/L-I-A" in flag.says
    (finding,) = scan_checks.check_brain(Volume(on_its_back, MNI_2MM.affine))
    assert finding.kind == "orientation"
    assert "R/L-I-A" in finding.found


def test_a_turn_undoes_itself():
    array = np.arange(24).reshape(2, 3, 4)
    for turn in orientation.TURNS:
        np.testing.assert_array_equal(turn.undo(turn.apply(array)), array)
    assert sum(orientation.UPRIGHT) == 2


def test_a_cohort_that_lies_wrongly_does_not_become_its_own_standard(people):
    values = measured(lying(people[0], rotation(0, 90), box(tissue_points(people[0]))))
    assessed, _ = quality.assess([dict(values)] * quality.SMALL_COHORT)
    assert all("upright" in [f.measure for f in a.flags] for a in assessed)


@pytest.mark.realdata
def test_real_scans_lying_are_flagged_and_upright_ones_are_not(real_data):
    """Every fortieth scan; `scripts/measure_input_checks.py turns` has them all."""
    root = real_data("oasis1_mni2mm")
    with (root / "participants.csv").open(encoding="utf-8") as file:
        good = [row for row in csv.DictReader(file) if not row["qc"].startswith("fail")][::40]
    volumes = [read_volume(root / row["file"]).data for row in good]
    for number, data in enumerate(volumes):
        assert measured(data)["upright"] > quality.MEASURES["upright"].limit
        outline = box(tissue_points(volumes[number - 1]))
        for axis, angle in list(TURNS.values())[number % 2 :: 2]:
            values = measured(lying(data, rotation(axis, angle), outline))
            assert quality.assess([values])[0][0].flags, (number, axis, angle)
