"""Ventricular and brain volume: thresholds, region and counts against independent float64 code, and real heads."""

from __future__ import annotations

import csv
from dataclasses import replace

import numpy as np
import pytest
from small_heads import AFFINE, head

from brain_diffusion_jax.data.prepare import head_volumes
from brain_diffusion_jax.data.prepare.head_volumes import fit_region, load_region, measure, two_thresholds
from brain_diffusion_jax.data.prepare.pipeline import Preparation, prepare_whole
from brain_diffusion_jax.data.shards.splits import SplitSpec, assign
from brain_diffusion_jax.errors import InputError

AGES = np.linspace(20, 90, 14)


def between_variance(counts: np.ndarray, first: int, second: int) -> float:
    """Variance between three classes of grey values, from its definition."""
    values, counts = np.arange(len(counts), dtype=np.float64), counts.astype(np.float64)
    mean, total = (values * counts).sum() / counts.sum(), 0.0
    for part in (slice(0, first + 1), slice(first + 1, second + 1), slice(second + 1, None)):
        weight = counts[part].sum()
        if weight == 0:
            return -1.0
        total += weight * ((values[part] * counts[part]).sum() / weight - mean) ** 2
    return total


@pytest.mark.parametrize("seed", range(4))
def test_two_thresholds_are_the_best_of_all_pairs(seed):
    counts = np.random.default_rng(seed).integers(0, 50, 20) * (np.arange(20) % (seed + 2) > 0)
    found = two_thresholds(counts)
    best = max(between_variance(counts, a, b) for a in range(19) for b in range(a + 1, 19))
    assert between_variance(counts, *found) == pytest.approx(best, rel=1e-12)


def test_two_grey_values_are_no_three_classes():
    with pytest.raises(InputError, match="three classes of tissue"):
        two_thresholds(np.array([0, 5, 0, 7]))


@pytest.fixture(scope="module")
def heads() -> tuple[np.ndarray, np.ndarray]:
    """(unit volumes as stored, uint8 [14, 46, 55, 46], true ventricular volumes)."""
    made = [head(age, number) for number, age in enumerate(AGES)]
    stored = np.stack([np.rint(np.clip(scan / 1.2, 0, 1) * 255).astype(np.uint8) for scan, _ in made])
    return stored, np.array([truth for _, truth in made])


@pytest.fixture(scope="module")
def region(heads):
    volumes = heads[0]
    return fit_region(lambda: iter(volumes), lambda: iter(volumes[AGES > 60]), AFFINE)


def flooded(mask: np.ndarray, seeds: list[tuple[int, int, int]]) -> np.ndarray:
    """What can be reached from the seeds over faces of voxels of the mask."""
    found, waiting = np.zeros_like(mask), [seed for seed in seeds if mask[seed]]
    while waiting:
        place = waiting.pop()
        if found[place]:
            continue
        found[place] = True
        for axis in range(3):
            for step in (-1, 1):
                near = tuple(p + step * (a == axis) for a, p in enumerate(place))
                if mask[near] and not found[near]:
                    waiting.append(near)
    return found


def test_the_region_is_what_the_rule_says(heads, region):
    volumes = heads[0].astype(np.float64) / 255
    levels = two_thresholds(np.bincount(heads[0].ravel(), minlength=256)[1:])
    assert region.fluid_below == pytest.approx((levels[0] + 1.5) / 255)
    assert 0.2 / 1.2 < region.fluid_below < 0.7 / 1.2  # between fluid and grey matter
    often = (volumes[AGES > 60] < region.fluid_below).mean(0) > 0.3
    place = [AFFINE[a, a] * np.arange(n) + AFFINE[a, 3] for a, n in enumerate(often.shape)]
    x, y, z = np.meshgrid(*place, indexing="ij")
    box = (abs(x) < 40) & (y > -60) & (y < 40) & (z > -18) & (z < 40)
    np.testing.assert_array_equal(region.ventricles, flooded(often & box & region.head, [(26, 29, 24), (20, 29, 24)]))
    assert region.ventricles[[26, 19], 29, 24].all()  # at +-14, -10, 24 mm
    assert region.fluid < region.fluid_below < region.grey


def test_measures_are_counts_and_follow_the_truth(heads, region):
    volumes, truth = heads
    found = measure(volumes[..., None], region)
    unit = volumes.astype(np.float64) / 255
    expected = [64.0 * sum(v < region.fluid_below for v in one[region.ventricles]) for one in unit]
    np.testing.assert_allclose(found["ventricles"], expected)
    np.testing.assert_allclose(found["brain"], [(one[region.head] >= region.fluid_below).mean() for one in unit])
    assert np.corrcoef(found["ventricles"], truth)[0, 1] > 0.98
    softly = measure(volumes, region, soft=True)["ventricles"]
    by_hand = [
        64.0 * np.clip((region.grey - one[region.ventricles]) / (region.grey - region.fluid), 0, 1).sum()
        for one in unit
    ]
    np.testing.assert_allclose(softly, by_hand, rtol=1e-5)
    assert np.corrcoef(softly, truth)[0, 1] > 0.98


def test_floats_are_measured_as_their_eight_bits_are(heads, region):
    stored = measure(heads[0], region)
    floats = measure(heads[0].astype(np.float32)[..., None] / np.float32(255), region, affine=AFFINE)
    for name in ("ventricles", "brain"):
        np.testing.assert_allclose(floats[name], stored[name])


def test_a_region_is_kept_and_another_one_is_refused(region, tmp_path):
    region.save(tmp_path)
    again = load_region(tmp_path, region.digest)
    assert again.digest == region.digest
    np.testing.assert_array_equal(again.ventricles, region.ventricles)
    for other in (
        replace(region, fluid_below=region.fluid_below + 0.01),
        replace(region, ventricles=region.ventricles & (np.arange(46) < 20)[:, None, None]),
        replace(region, affine=region.affine + np.eye(4)),
    ):
        assert other.digest != region.digest
        with pytest.raises(InputError, match=r"region.npz: region: found sha256:.*another region"):
            load_region(tmp_path, other.digest)
    with pytest.raises(InputError, match=r"no such file.*--measure volumes"):
        load_region(tmp_path / "nowhere")
    path = tmp_path / head_volumes.FILE_NAME
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError, match="a whole file"):
        load_region(tmp_path)


def test_what_cannot_be_measured_is_refused(heads, region):
    with pytest.raises(InputError, match=r"volumes: found \(14, 40, 55, 46\); expected \[n, 46, 55, 46, 1\]"):
        measure(heads[0][:, :40], region)
    with pytest.raises(InputError, match="affine"):
        measure(heads[0], region, affine=np.eye(4))
    broken = heads[0].astype(np.float32) / 255
    broken[2, region.ventricles] = np.nan
    with pytest.raises(InputError, match="NaN"):
        measure(broken, region)


def test_people_without_ventricles_where_they_should_be_give_no_region(heads):
    volumes = heads[0]
    with pytest.raises(InputError, match="found 2 training scans of older people; expected at least 5"):
        fit_region(lambda: iter(volumes), lambda: iter(volumes[-2:]), AFFINE)
    moved = AFFINE + np.array([[0, 0, 0, 40.0], [0] * 4, [0] * 4, [0] * 4])  # not in MNI space
    with pytest.raises(InputError, match=r"ventricles: found no fluid at.*registered to MNI"):
        fit_region(lambda: iter(volumes), lambda: iter(volumes[AGES > 60]), moved)
    with pytest.raises(InputError, match="scans: found none"):
        fit_region(lambda: iter(()), lambda: iter(()), AFFINE)


@pytest.mark.realdata
def test_real_ventricles_and_brains(real_data):
    """244 good scans of OASIS-1 at 2 mm: age, means, repeat scans and OASIS's own nwbv; region from training people."""
    folder = real_data("oasis1_mni2mm")
    with open(folder / "participants.csv", encoding="utf-8") as file:
        rows = [r for r in csv.DictReader(file) if r["qc"] == "ok" and r["cdr"] and float(r["cdr"]) == 0]
    rule = {"rule": "fixed", "low": 0.0, "high": 1.2}
    box = {"size": (80, 96, 80), "offset": (6, 6, 0), "refuse": ()}
    made = [prepare_whole(folder / r["file"], Preparation(kind="volumes", intensity=rule, volume=box)) for r in rows]
    volumes, people = np.stack([m.data for m in made]), [r["subject_id"] for r in rows]
    age, nwbv = (np.array([float(r[name]) for r in rows]) for name in ("age", "nwbv"))
    sides = assign(people, SplitSpec(seed=1, train=0.7, validation=0.1, test=0.2))
    train = np.array([sides[person] == "train" for person in people])
    older = train & (age > 60)
    region = fit_region(lambda: iter(volumes[train]), lambda: iter(volumes[older]), made[0].affine)
    assert region.fluid_below * 120 == pytest.approx(39, abs=1)
    assert region.grey * 120 == pytest.approx(61, abs=1.5)
    found = measure(volumes[..., None], region)
    ventricles, brain = found["ventricles"], found["brain"]
    assert np.corrcoef(ventricles, age)[0, 1] == pytest.approx(0.777, abs=0.01)
    assert ventricles[age < 30].mean() == pytest.approx(14_087, rel=0.06)
    assert ventricles[age > 75].mean() == pytest.approx(48_406, rel=0.06)
    pairs = [(i, j) for i in range(len(rows)) for j in range(i) if people[i] == people[j]]
    first, second = (ventricles[[pair[side] for pair in pairs]] for side in (0, 1))
    assert len(pairs) == 16
    assert np.corrcoef(first, second)[0, 1] > 0.995
    assert np.abs(first - second).mean() < 600
    assert np.corrcoef(brain, nwbv)[0, 1] == pytest.approx(0.893, abs=0.015)
