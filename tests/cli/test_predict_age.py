"""predict-age: orientation and unit handled, bad scans refused in words, the others still judged."""

from __future__ import annotations

import csv
import shutil

import jax
import jax.numpy as jnp
import nibabel
import numpy as np
import pytest

from brain_diffusion_jax import api
from brain_diffusion_jax import config as configs
from brain_diffusion_jax.api import scan_ages
from brain_diffusion_jax.cli.main import main
from brain_diffusion_jax.contract import Contract
from brain_diffusion_jax.covariates import Schema
from brain_diffusion_jax.data.phantoms import phantom_anatomy, phantom_scan
from brain_diffusion_jax.data.prepare import contract_preparation, nifti, pipeline
from brain_diffusion_jax.data.prepare.pipeline import Preparation
from brain_diffusion_jax.evaluation.probes import input_profile
from brain_diffusion_jax.models import factory
from brain_diffusion_jax.tasks.spec import spec
from brain_diffusion_jax.training.run_folder import checkpoints

PREPARE = {
    "intensity": {"rule": "percentile", "low": 0.0, "high": 99.5, "dtype": "uint8"},
    "slices": {"rule": "range_index", "start": 30, "stop": 42, "step": 3},
}


@pytest.fixture(scope="module")
def brain():
    rng = np.random.default_rng(5)
    shape = phantom_anatomy.Shape(scale=1.0, ventricle_fraction=0.014, sulcus_mm=0.5, cortex_mm=3.0)
    return np.asarray(phantom_scan.t1_weighted(phantom_anatomy.build(shape, rng), rng), np.float32)


def save(path, data, codes="RAS", factor=1.0):
    """Write a RAS array on the MNI 2 mm grid in another orientation and unit."""
    image = nibabel.Nifti1Image(data * np.float32(factor), nifti.MNI_2MM.affine)
    there = nibabel.orientations.axcodes2ornt(codes)
    turned = image.as_reoriented(nibabel.orientations.ornt_transform(nibabel.io_orientation(image.affine), there))
    nibabel.save(turned, path)
    return str(path)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A random small regressor with a contract."""
    from brain_diffusion_jax.data.sources.cohort import Cohort
    from brain_diffusion_jax.data.sources.scan_slices import ScanSlices

    schema = Schema.from_json([{"name": "age", "unit": "years", "low": 18, "high": 96}])
    preparation = Preparation(**PREPARE)
    contract = ScanSlices(Cohort((), ()), preparation, schema, "test").contract()
    config = configs.base_config()
    config.age_model.width, config.age_model.target_mean, config.age_model.target_scale = 0.1, 50.0, 20.0
    network = factory.age_network(spec("age").read(config).age_model)
    variables = network.init(jax.random.key(0), jnp.zeros((1, 109, 91, 1)))
    folder = tmp_path_factory.mktemp("model") / "run"
    checkpoints.write_run(
        folder, "age", variables["params"], configs.to_json(config), contract, {"batch_stats": variables["batch_stats"]}
    )
    return folder


def ages(folder) -> dict[str, dict[str, str]]:
    with (folder / "ages.csv").open() as file:
        return {row["scan"]: row for row in csv.DictReader(file)}


def test_a_contract_is_read_back_as_its_preparation(run):
    preparation = contract_preparation.preparation_of(Contract.load(run))
    for part in ("rule", "slicing", "fitting", "spacing_mm", "grid"):
        assert getattr(preparation, part) == getattr(Preparation(**PREPARE), part)


def test_orientation_and_unit_make_no_difference(brain, run, tmp_path):
    scans = [
        save(tmp_path / "ras.nii.gz", brain),
        save(tmp_path / "lps.nii.gz", brain, "LPS"),
        save(tmp_path / "psr.nii.gz", brain, "PSR", 0.004),
    ]
    assert main(["predict-age", str(run), *scans, "--out", str(tmp_path / "out")]) == 0
    rows = ages(tmp_path / "out")
    found = [float(rows[name]["age"]) for name in ("ras", "lps", "psr")]
    assert np.ptp(found) < 0.5
    assert rows["ras"]["slices"] == "4"
    with (tmp_path / "out" / "slices.csv").open() as file:
        slices = [float(row["age"]) for row in csv.DictReader(file) if row["scan"] == "ras"]
    assert float(rows["ras"]["age"]) == pytest.approx(np.median(slices), abs=1e-3)
    assert (tmp_path / "out" / "ages.png").exists()


def test_bad_scans_are_refused_with_the_reason_and_the_good_are_judged(brain, run, tmp_path, capsys):
    upside_down = save(tmp_path / "upside.nii.gz", np.ascontiguousarray(brain[:, :, ::-1]))
    (tmp_path / "broken.nii.gz").write_bytes(b"no gzip")
    words = [save(tmp_path / "good.nii.gz", brain), upside_down, str(tmp_path / "broken.nii.gz")]
    assert main(["predict-age", str(run), *words, "--out", str(tmp_path / "out")]) == 2
    rows = ages(tmp_path / "out")
    assert rows["good"]["age"]
    assert rows["upside"]["age"] == ""
    assert "orientation" in rows["upside"]["refused"]
    assert "broken.nii.gz" in rows["broken"]["refused"]
    assert "orientation" in capsys.readouterr().out
    allowed = ["--allow", "orientation", "--out", str(tmp_path / "out2")]
    assert main(["predict-age", str(run), upside_down, *allowed]) == 0
    assert "orientation" in ages(tmp_path / "out2")["upside"]["notes"]


def test_a_header_in_metres_and_a_surprise_are_rows_with_a_reason(brain, run, tmp_path, monkeypatch):
    image = nibabel.load(save(tmp_path / "good.nii.gz", brain))
    nibabel.save(
        nibabel.Nifti1Image(image.get_fdata(), np.diag([1e-3, 1e-3, 1e-3, 1]) @ image.affine), tmp_path / "m.nii"
    )
    (tmp_path / "odd.nii.gz").write_bytes((tmp_path / "good.nii.gz").read_bytes())
    read = nifti.read_volume

    def surprised(path):
        if path.name == "odd.nii.gz":
            raise KeyError("nobody thought of this")
        return read(path)

    monkeypatch.setattr(nifti, "read_volume", surprised)
    words = [str(tmp_path / name) for name in ("good.nii.gz", "m.nii", "odd.nii.gz")]
    assert main(["predict-age", str(run), *words, "--out", str(tmp_path / "out")]) == 2
    rows = ages(tmp_path / "out")
    assert rows["good"]["age"]
    assert "voxel size" in rows["m"]["refused"]
    assert "KeyError" in rows["odd"]["refused"]


def test_an_age_that_nobody_has_does_not_stand(brain, run, tmp_path, monkeypatch):
    scans = [save(tmp_path / f"{name}.nii.gz", brain) for name in ("old", "nan", "wide", "fine")]
    said = np.repeat([[130.0], [np.nan], [50.0], [119.0]], 4, axis=1)
    said[2, 0] = -4.0
    monkeypatch.setattr(scan_ages, "predict_slices", lambda *_: (said.ravel(), np.zeros((16, 1))))
    monkeypatch.setattr(scan_ages, "bias_correction", lambda _: lambda age: age + 5)
    assert main(["predict-age", str(run), *scans, "--out", str(tmp_path / "out")]) == 2
    rows = ages(tmp_path / "out")
    for name in ("old", "nan"):
        assert rows[name]["age"] == rows[name]["bias_corrected"] == ""
        assert "0 to 120 years" in rows[name]["refused"]
    assert float(rows["wide"]["age"]) == 50
    assert "1 of 4 slices" in rows["wide"]["notes"]
    assert float(rows["fine"]["age"]) == 119
    assert rows["fine"]["bias_corrected"] == ""
    assert "bias-corrected" in rows["fine"]["notes"]
    assert "130" not in (tmp_path / "out" / "slices.csv").read_text()


def test_files_of_one_name_are_told_apart(brain, run, tmp_path, capsys):
    names = [f"sub-{n}/anat/T1.nii.gz" for n in (1, 2)]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True)
    scans = [save(tmp_path / name, brain) for name in names]
    assert main(["predict-age", str(run), *scans, "--out", str(tmp_path / "out")]) == 0
    rows = ages(tmp_path / "out")
    assert {name: row["path"] for name, row in rows.items()} == dict(zip(names, scans, strict=True))
    assert main(["predict-age", str(run), scans[0], scans[0], "--out", str(tmp_path / "twice")]) == 2
    assert "more than once" in capsys.readouterr().err


def test_what_the_run_never_saw_is_refused_and_a_run_without_a_profile_says_so(brain, run, tmp_path, capsys):
    model = api.load(run)
    rng = np.random.default_rng(0)
    known = []
    preparation = contract_preparation.preparation_of(model.contract)

    def another():
        return brain * rng.normal(1, 0.03) + rng.normal(0, 0.01, brain.shape) * (brain > 0)

    for number in range(24):
        pictures, indices = pipeline.prepare_volume(save(tmp_path / "known.nii", another()), preparation)[:2]
        features = model.features(pictures[..., None] / np.float32(255))
        known.append(input_profile.KnownScan(str(number), pictures[..., None], indices, features, False))
    scans = [
        save(tmp_path / "good.nii.gz", another()),
        save(tmp_path / "pale.nii.gz", np.sqrt(brain)),
    ]
    first, second = tmp_path / "first", tmp_path / "second"
    assert main(["predict-age", str(run), *scans, "--out", str(tmp_path / "unchecked")]) == 0
    assert "input_profile.npz" in capsys.readouterr().err
    assert "input_profile.npz" in ages(tmp_path / "unchecked")["good"]["notes"]
    checked = tmp_path / "checked"
    shutil.copytree(run, checked)
    input_profile.make_profile(known).save(checked)
    assert main(["predict-age", str(checked), *scans, "--out", str(first)]) == 2
    rows = ages(first)
    assert rows["good"]["age"] == ages(tmp_path / "unchecked")["good"]["age"]
    assert rows["good"]["notes"] == ""
    assert rows["pale"]["age"] == ""
    assert "inputs: found" in rows["pale"]["refused"]
    assert "grey levels are not those it was trained on" in rows["pale"]["refused"]
    with (first / "slices.csv").open() as file:
        assert {row["scan"] for row in csv.DictReader(file)} == {"good"}
    assert main(["predict-age", str(checked), *scans, "--allow", "inputs", "--out", str(second)]) == 0
    assert "grey levels" in ages(second)["pale"]["notes"]
    assert ages(second)["pale"]["age"]


def test_an_out_folder_in_use_and_unknown_checks_are_refused(run, tmp_path, capsys):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("")
    assert main(["predict-age", str(run), "x.nii", "--out", str(tmp_path / "full")]) == 2
    assert main(["predict-age", str(run), "x.nii", "--allow", "skul", "--out", str(tmp_path / "o")]) == 2
    assert "skull" in capsys.readouterr().err
    assert main(["predict-age", str(run), "--out", str(tmp_path / "o")]) == 2


def test_a_fixed_window_of_another_unit_is_refused(brain, tmp_path):
    rule = Preparation(**{**PREPARE, "intensity": {"rule": "fixed", "low": 0.0, "high": float(brain.max())}})
    for factor, refused in ((1.0, False), (30.0, True), (0.01, True)):
        path = save(tmp_path / f"{factor}.nii.gz", brain, factor=factor)
        person = scan_ages.Person("p", nifti.Path(path))
        assert ("intensity" in scan_ages.prepare_person(person, scan_ages.Preparing(rule)).refused) == refused


@pytest.mark.realdata
def test_real_scans_are_judged_or_refused(run, real_data, tmp_path):
    aligned = real_data("deepbrainnet_t1") / "Subject1_T1_BrainAligned.nii.gz"
    native = real_data("ixi_psr_2mm") / "IXI048-HH-1326-T1.nii.gz"
    assert main(["predict-age", str(run), str(aligned), str(native), "--out", str(tmp_path / "out")]) == 2
    rows = ages(tmp_path / "out")
    assert rows["Subject1_T1_BrainAligned"]["age"]
    assert "registration" in rows["IXI048-HH-1326-T1"]["refused"]
