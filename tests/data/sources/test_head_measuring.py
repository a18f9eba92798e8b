"""`prepare --measure volumes`: a region of training people only, values in the shards, the hash in the contract."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from small_cohort import write_scan
from small_heads import AFFINE, COVARIATES, PREPARE, head, write_heads

from brain_diffusion_jax.contract import Contract, ContractMismatch, require_same
from brain_diffusion_jax.covariates import Condition, Schema
from brain_diffusion_jax.data.checks.inspection_report import with_measured as shown_with_measured
from brain_diffusion_jax.data.condition_draw import ConditionDraw
from brain_diffusion_jax.data.prepare.head_volumes import NAMES, MeasureSpec, load_region, measure
from brain_diffusion_jax.data.prepare.pipeline import Preparation
from brain_diffusion_jax.data.shards import builder, reader, writer
from brain_diffusion_jax.data.shards.splits import SplitSpec
from brain_diffusion_jax.data.sources.cohort import CohortSpec, read_cohort
from brain_diffusion_jax.data.sources.head_measuring import HeadMeasure, HeadMeasuring, with_measured
from brain_diffusion_jax.data.sources.scan_volumes import ScanVolumes
from brain_diffusion_jax.errors import InputError

SPLIT = SplitSpec(train=0.7, validation=0.0, test=0.3, seed=0)
SCHEMA = Schema.from_json(with_measured(COVARIATES))


def write(out: Path, root: Path, spec: dict | None = None, prepare: dict | None = None, **options) -> Contract:
    cohort = read_cohort(CohortSpec(root=str(root)), Schema.from_json(COVARIATES))
    source = ScanVolumes(cohort, Preparation(**{**PREPARE, **(prepare or {})}), SCHEMA, "made heads")
    measuring = HeadMeasuring(MeasureSpec(volumes=True, **(spec or {})))
    return writer.write_shards(out, source, SPLIT, measuring=measuring, **options)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Path, Path, dict[str, float]]:
    """(cohort, shards, person -> true ventricular volume)."""
    folder = tmp_path_factory.mktemp("heads")
    truth = write_heads(folder / "cohort")
    write(folder / "shards", folder / "cohort")
    return folder / "cohort", folder / "shards", truth


def table(shards: Path) -> dict[str, dict[str, str]]:
    with open(shards / "scans.csv", encoding="utf-8") as file:
        return {row["scan"]: row for row in csv.DictReader(file)}


def test_records_hold_what_is_measured_on_their_volumes(made):
    _, shards, truth = made
    region, found, true = load_region(shards), [], []
    for split in ("train", "test"):
        everything = reader.read_all(shards, split)
        measured = measure(everything["image"], region)
        for name in NAMES:
            told = [c[name] for c in everything["conditions"]]
            np.testing.assert_allclose(told, measured[name], rtol=1e-4)
        assert everything["present"].all()
        found += list(measured["ventricles"])
        true += [truth[person] for person in everything["person"]]
        for person, value in zip(everything["person"], measured["ventricles"], strict=True):
            assert float(table(shards)[person]["ventricles"]) == pytest.approx(value, rel=1e-4)
    assert np.corrcoef(found, true)[0, 1] > 0.98


def test_conditions_are_drawn_from_training_people(made):
    draw = ConditionDraw.of_shards(made[1], seed=1)
    train = {(row["ventricles"], row["brain"]) for row in table(made[1]).values() if row["split"] == "train"}
    drawn = [row.condition for row in draw.rows(range(30))]
    assert {(f"{c['ventricles']:.6g}", f"{c['brain']:.6g}") for c in drawn} <= train
    assert all(set(c) == {"age", "sex", *NAMES} for c in drawn)


def test_the_schema_says_unit_and_range(made):
    schema = Contract.load(made[1]).schema
    assert schema["ventricles"].to_json() == {
        "name": "ventricles",
        "unit": "MNI-scaled mm3",
        "low": 1000.0,
        "high": 70000.0,
    }
    assert schema["brain"].unit == "fraction"
    own = [*COVARIATES, {"name": "brain", "unit": "fraction", "low": 0.5, "high": 1.0}]
    assert [item["name"] for item in with_measured(own)] == ["age", "sex", "brain", "ventricles"]
    assert with_measured(own)[2]["high"] == 1.0


def test_another_region_is_another_contract_and_refused(made, tmp_path):
    cohort, shards, _ = made
    contract = Contract.load(shards)
    assert contract.measured["region"] == load_region(shards).digest
    assert contract.measured["older"] < contract.measured["scans"] < 16
    load_region(shards, contract.measured["region"])
    other = write(tmp_path / "out", cohort, {"above": 40.0})
    assert other.measured["region"] != contract.measured["region"]
    with pytest.raises(ContractMismatch, match="measured"):
        require_same(contract, other, "weights", ignore=("counts",))
    with pytest.raises(InputError, match="another region was used"):
        load_region(tmp_path / "out", contract.measured["region"])
    unmeasured = Contract.from_json({k: v for k, v in contract.to_json().items() if k != "measured"})
    with pytest.raises(ContractMismatch, match="measured"):
        require_same(unmeasured, contract, "weights")


def test_the_region_knows_nobody_but_training_people(made, tmp_path):
    """Other people's scans change their own numbers and nothing else."""
    shards = made[1]
    before = table(shards)
    write_heads(tmp_path / "c")
    for person, row in before.items():
        if row["split"] == "test":
            write_scan(tmp_path / "c" / person / "anat" / f"{person}_T1w.nii.gz", head(90, 4)[0], AFFINE)
    after_contract, after = write(tmp_path / "out", tmp_path / "c"), table(tmp_path / "out")
    assert after_contract.measured["region"] == Contract.load(shards).measured["region"]
    for person, row in before.items():
        assert (after[person]["ventricles"] == row["ventricles"]) == (row["split"] == "train")


def test_an_interrupted_prepare_and_many_workers_give_the_same(made, tmp_path):
    cohort, shards, _ = made

    def stop(done, total):
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "out", cohort, progress=stop)
    contract = write(tmp_path / "out", cohort, workers=2)
    known = Contract.load(shards)
    assert (contract.fingerprint, contract.measured) == (known.fingerprint, known.measured)


def test_a_worker_of_beam_measures_too(made):
    cohort_folder, shards, _ = made
    cohort = read_cohort(CohortSpec(root=str(cohort_folder)), Schema.from_json(COVARIATES))
    source = ScanVolumes(cohort, Preparation(**PREPARE), SCHEMA)
    region = HeadMeasure(load_region(shards), {})
    plan = builder.Plan(source, Contract.load(shards), SPLIT, {}, Path(), {}, region)
    entry = source.entries()[4]
    ((_, record),) = builder._prepare_in_worker({**entry._asdict(), "path": str(entry.path)}, plan, "train")
    (condition,) = SCHEMA.decode(Condition(record["values"][None], record["present"][None]))
    assert condition["ventricles"] == pytest.approx(float(table(shards)[entry.id]["ventricles"]), rel=1e-4)


@pytest.mark.beam
def test_beam_measures_the_same(made, tmp_path):
    pytest.importorskip("apache_beam")
    contract = write(tmp_path / "out", made[0], engine="beam", beam_options=["--runner=DirectRunner"])
    known = Contract.load(made[1])
    assert (contract.fingerprint, contract.measured) == (known.fingerprint, known.measured)


def test_a_second_cohort_is_measured_in_the_region_of_the_first(made, tmp_path):
    contract = write(tmp_path / "out", made[0], {"region": str(made[1])})
    assert contract.measured["region"] == Contract.load(made[1]).measured["region"]
    assert contract.measured["fitted"] == "earlier"
    assert load_region(tmp_path / "out", contract.measured["region"])
    with pytest.raises(InputError, match=r"region: found \(40, 48, 40\).*expected \(40, 48, 38\)"):
        write(
            tmp_path / "other",
            made[0],
            {"region": str(made[1])},
            {"volume": {"size": (40, 48, 38), "offset": (3, 3, 2), "refuse": ()}},
        )


def test_a_volume_that_shows_no_ventricle_is_absent_and_not_0(made, tmp_path):
    write_heads(tmp_path / "c")
    person = next(name for name, row in table(made[1]).items() if row["split"] == "test")
    scan, _ = head(40)
    filled = np.where((scan > 0) & (scan < 0.6), 0.7, scan).astype(np.float32)
    write_scan(tmp_path / "c" / person / "anat" / f"{person}_T1w.nii.gz", filled, AFFINE)
    write(tmp_path / "out", tmp_path / "c")
    everything = reader.read_all(tmp_path / "out", "test")
    row = everything["person"].index(person)
    assert "ventricles" not in everything["conditions"][row]
    assert everything["conditions"][row]["brain"] > 0.9
    assert table(tmp_path / "out")[person]["ventricles"] == ""


def test_what_cannot_be_measured_is_refused_before_shards_are_written(made, tmp_path):
    with pytest.raises(InputError, match=r"participants.tsv: scans: found 0 training scans of older people"):
        write(tmp_path / "a", made[0], {"above": 95.0})
    with pytest.raises(InputError, match=r"schema: covariate: found agee"):
        write(tmp_path / "b", made[0], {"covariate": "agee"})
    native = {"grid": "native", "volume": {"size": (40, 48, 40), "refuse": ()}}
    with pytest.raises(InputError, match=r"prepare.measure: volumes: found prepare.grid=native"):
        write(tmp_path / "c", made[0], prepare=native)
    assert not (tmp_path / "a" / "shards.json").exists()


def test_a_domain_in_another_unit_is_refused(made, tmp_path):
    schema = Schema.from_json(
        [*COVARIATES, {"name": "ventricles", "unit": "ml", "low": 1, "high": 70}, *with_measured([])[1:]]
    )
    cohort = read_cohort(CohortSpec(root=str(made[0])), Schema.from_json(COVARIATES))
    source = ScanVolumes(cohort, Preparation(**PREPARE), schema)
    with pytest.raises(InputError, match=r"covariates: ventricles: found .*'ml'.*a number in MNI-scaled mm3"):
        writer.write_shards(tmp_path / "out", source, SPLIT, measuring=HeadMeasuring(MeasureSpec(volumes=True)))


def test_inspect_shows_what_was_measured(made, tmp_path):
    cohort_folder, shards, _ = made
    plain = Schema.from_json(COVARIATES)
    cohort, schema = shown_with_measured(read_cohort(CohortSpec(root=str(cohort_folder)), plain), plain, shards)
    assert schema.names == ("age", "sex", "ventricles", "brain")
    for scan in cohort.scans:
        assert scan.covariates["ventricles"] == float(table(shards)[scan.scan]["ventricles"])
    contract = Contract.load(shards)
    Contract.from_json({k: v for k, v in contract.to_json().items() if k != "measured"}).save(tmp_path)
    with pytest.raises(InputError, match=r"measured: found nothing; expected shards of"):
        shown_with_measured(cohort, plain, tmp_path)
