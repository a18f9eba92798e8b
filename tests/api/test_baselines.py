"""What stands beside a model in its study: PCA-Gauss, as a generator of its own, and other runs."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import tiny_runs

from brain_diffusion_jax import files
from brain_diffusion_jax.api import baselines, studies
from brain_diffusion_jax.api.loading import load
from brain_diffusion_jax.api.protocols import draw
from brain_diffusion_jax.contract import Contract
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation.image_set import ImageSet
from brain_diffusion_jax.evaluation.study import real_people
from brain_diffusion_jax.evaluation.study.study_result import StudyResult


def people(count, seed):
    """Slices whose brightness is their person's age."""
    rng = np.random.default_rng(seed)
    ages = rng.uniform(20, 90, count).round()
    images = (ages[:, None, None] + rng.integers(0, 60, (count, *tiny_runs.SIZE))).astype(np.uint8)
    conditions = [{"age": a, "sex": "FM"[i % 2], "slice": 2.0 + i % 3} for i, a in enumerate(ages)]
    return ImageSet(images, conditions, [f"{seed}-{i}" for i in range(count)])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    tiny_runs.diffusion_run(
        folder, "sample.batch_size=4", "sample.num_steps=2", "study.bootstrap=4", "study.guidance_scales=(2.0,)"
    )
    return folder


def test_it_draws_what_was_asked_for_batch_by_batch(run):
    train, contract = people(40, 1), Contract.load(run)
    model = baselines.fit_beside(load(run, "generator"), train, contract)
    conditions = people(9, 2).conditions
    whole = draw(model, conditions, model.sampling(batch_size=9), seed=3)
    parts = draw(model, conditions, model.sampling(), seed=3)
    assert whole.shape == (9, *tiny_runs.SIZE, 1)
    np.testing.assert_allclose(whole, parts, atol=1e-6)
    later = dict(model.batches(conditions, model.sampling(), seed=3, start=4))
    np.testing.assert_allclose(later[4], whole[4:8], atol=1e-6)
    ages = [c["age"] for c in conditions]
    assert np.corrcoef(ages, whole.mean((1, 2, 3)))[0, 1] > 0.95
    assert model.version == baselines.fit_beside(load(run, "generator"), train, contract).version
    with pytest.raises(InputError, match="num_steps: found 5; expected nothing: PCA-Gauss"):
        model.sampling(num_steps=5)


def test_a_study_puts_it_beside_the_model(run, tmp_path, monkeypatch):
    sets = {"train": people(24, 1), "test": people(9, 2)}
    monkeypatch.setattr(real_people, "read_real", lambda shards, contract: sets)
    studies.study(str(run), data=str(run), num_samples=6, out=str(tmp_path), pca_gauss=True)
    found = StudyResult.load(tmp_path / "pca-gauss")
    assert [row.name for row in found.rows] == ["real", "real, training people", "w=1"]
    assert found.row(1.0).value("age, second reader mae") < 15
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "PCA-Gauss: w=1" in page
    studies.study(str(run), data=str(run), num_samples=6, out=str(tmp_path / "slices"))
    assert not (tmp_path / "slices" / "pca-gauss").exists()  # of slices only where it is asked for


def test_other_runs_are_measured_under_the_plan_of_the_study(run, tmp_path, monkeypatch):
    sets = {"train": people(24, 1), "test": people(9, 2)}
    monkeypatch.setattr(real_people, "read_real", lambda shards, contract: sets)
    gan = tiny_runs.gan_run(tmp_path / "gan", "study.seed=5", "study.num_samples=3", "sample.batch_size=4")
    guided = shutil.copytree(run, tmp_path / "guided")
    items = files.read_json(guided / "config.json", "config")
    items["study"]["guidance_scales"] = [7.0]
    files.write_json(guided / "config.json", items)
    out = tmp_path / "study"
    result = studies.study(
        str(run), data=str(run), num_samples=6, seed=2, num_steps=1, out=out, baselines=[gan, str(guided)]
    )
    assert not (out / "pca-gauss").exists()
    rows, plans = {}, {"run": files.read_json(out / "plan.json", "plan")}
    for name in ("gan", "guided"):
        found = StudyResult.load(out / studies.BASELINES / name)
        rows[name] = [row.name for row in found.rows]
        assert {r.num_pictures for r in found.generated} == {6}
        assert found.real.numbers == result.real.numbers
        plans[name] = files.read_json(out / studies.BASELINES / name / "plan.json", "plan")
    assert rows == {
        name: ["real", "real, training people", scale] for name, scale in (("gan", "w=1"), ("guided", "w=2"))
    }
    assert len({(p["seed"], p["conditions"], p["num_pictures"]) for p in plans.values()}) == 1
    assert plans["run"]["seed"] == 2
    assert "'num_steps': 2" in plans["guided"]["model"]  # its own config's
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "gan: w=1" in page
    assert "guided: w=2" in page


def test_a_baseline_that_does_not_belong_is_refused_before_anything_is_made(run, tmp_path, monkeypatch):
    monkeypatch.setattr(real_people, "read_real", lambda shards, contract: {"test": people(9, 2)})
    contract = Contract.load(run)
    odd = tiny_runs.gan_run(tmp_path / "odd", given=Contract(contract.schema, (20, 20)))
    for runs, words in (
        ([odd], f"baseline {odd} against {run}: contract: .*image_size: "),
        ([run, run], "--baselines: names of run folders: found run twice"),
    ):
        with pytest.raises(InputError, match=words):
            studies.study(str(run), data=str(run), out=tmp_path / "out", baselines=runs)
    assert not (tmp_path / "out").exists()
