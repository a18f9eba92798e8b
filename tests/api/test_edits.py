"""Edits of latent slices and of whole volumes; edits of pixels are those of tests/cli/test_age_edit.py."""

from __future__ import annotations

from dataclasses import replace

import nibabel
import numpy as np
import pytest
import small_shards
import tiny_runs

from brain_diffusion_jax import api
from brain_diffusion_jax.api import edits
from brain_diffusion_jax.data.prepare.head_volumes import Region
from brain_diffusion_jax.data.prepare.intensity import Window
from brain_diffusion_jax.data.prepare.pipeline import PreparedScan, PreparedVolume
from brain_diffusion_jax.errors import InputError

RNG = np.random.default_rng(0)
SIZE = (12, 11, 11)
HOW = edits.EditSettings(num_steps=4, strength=0.5)
TO_60 = edits.Change("age", ["50", "60"])


def test_a_slice_is_edited_in_latent_space(tmp_path, monkeypatch):
    image = RNG.uniform(0.1, 0.9, tiny_runs.SIZE).astype(np.float32)
    prepared = PreparedScan(np.stack([image] * 3), [2, 3, 4], [-32.0, -12.0, 8.0], Window(0, 1), tiny_runs.SIZE, [])
    monkeypatch.setattr(edits, "prepare_scan", lambda model, scan, index: (prepared, 1))
    model = api.load(tiny_runs.latent_run(tmp_path / "run"), "diffusion")
    subject = edits.Subject("scan.nii", {"age": 50, "sex": "F"})
    report = edits.write_edits(model, subject, TO_60, HOW, tmp_path / "out")
    autoencoder = api.load(model.config.codec.autoencoder)
    rebuilt = autoencoder.reconstruct(image[None, ..., None])[0, ..., 0]
    # Nothing is lost but what the autoencoder loses.
    assert report["reconstruction_mean_absolute_error"] == pytest.approx(np.abs(rebuilt - image).mean(), abs=1e-4)
    same, again, other = report["correlation_with_the_slice"]
    assert again == pytest.approx(same, abs=1e-4)
    assert abs(other - same) > 1e-3
    assert {p.name for p in (tmp_path / "out").glob("edited*")} == {f"edited_age_{n}.png" for n in ("same", "50", "60")}


@pytest.fixture
def volume_model(tmp_path, monkeypatch):
    region = Region(np.ones(SIZE, bool), np.ones(SIZE, bool), np.diag([4.0, 4.0, 4.0, 1.0]), 0.5, 0.1, 0.6)
    region.save(tmp_path)
    told = replace(small_shards.Blobs(SIZE, 3).contract(), measured={"region": region.digest})
    scan = RNG.integers(0, 255, SIZE).astype(np.uint8)
    whole = PreparedVolume(scan, np.diag([4.0, 4.0, 4.0, 1.0]), Window(0, 1), [])
    monkeypatch.setattr(edits, "prepare_whole", lambda path, preparation: whole)
    monkeypatch.setattr(edits, "preparation_of", lambda contract, where, kind: None)
    run = tiny_runs.diffusion_run(tmp_path / "run", "model.spatial_dims=3", f"data.shards={tmp_path}", given=told)
    return api.load(run, "diffusion"), scan, region


def test_a_volume_is_edited_and_measured(volume_model, tmp_path):
    model, scan, _ = volume_model
    subject = edits.Subject("scan.nii", {"age": 50, "sex": "F"})
    report = edits.write_edits(model, subject, TO_60, HOW, tmp_path / "out")
    assert report["reconstruction_largest_error"] < 2e-3  # exact inversion
    assert report["ssim_with_the_volume"][1] > 0.999
    assert report["ssim_with_the_volume"][2] < 0.999
    assert report["ventricles_of_the_volume"] == pytest.approx((scan < 0.5 * 255).sum() * 64)
    assert len(report["ventricles"]) == len(report["brain"]) == 3
    assert "notes" not in report
    saved = nibabel.load(tmp_path / "out" / "edited_age_same.nii.gz")
    assert saved.shape == SIZE
    np.testing.assert_allclose(np.asarray(saved.dataobj), scan / 255, atol=2e-3)
    with pytest.raises(InputError, match="--slice: found 3"):
        edits.write_edits(model, replace(subject, index=3), TO_60, HOW, tmp_path / "other")


def test_a_missing_region_is_said_and_not_replaced(volume_model, tmp_path):
    model, _, _ = volume_model
    (tmp_path / "region.npz").unlink()
    report = edits.write_edits(model, edits.Subject("s.nii", {"age": 50, "sex": "F"}), TO_60, HOW, tmp_path / "out")
    assert "ventricles" not in report
    assert "not measured" in report["notes"][0]


def test_an_inversion_that_does_not_come_back_is_refused(tmp_path, monkeypatch):
    model = api.load(tiny_runs.diffusion_run(tmp_path / "run"), "diffusion")
    image = RNG.uniform(0.1, 0.9, (*tiny_runs.SIZE, 1)).astype(np.float32)
    monkeypatch.setattr(edits, "_inverted", lambda bare, path, x0, *rest: x0)
    monkeypatch.setattr(edits, "_regenerated", lambda bare, path, inverted, *rest: -inverted)
    truth = {"age": 50, "sex": "F", "slice": 3}
    with pytest.raises(InputError, match=r"inversion: found an error of .*'num_steps': 4.*more --steps"):
        edits.edit(model, image, truth, [], HOW)
