"""What a notebook does, cell by cell, without the command line: prepare, train, sample, sweep, study."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import small_cohort
import small_training

import brain_diffusion_jax as bdj
from brain_diffusion_jax import config as configs
from brain_diffusion_jax.errors import InputError

COVARIATES = tuple({**covariate} for covariate in small_cohort.SCHEMA.to_json())
SMALL = [*small_training.OVERRIDES, "train.num_steps=2", "train.sample_every=0", "train.validate_every=2"]
STUDY = ["study.evaluated=train", "sample.batch_size=4", "study.bootstrap=2", "study.guidance_scales=(1.0,)"]


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("from_python")
    config = configs.base_config()
    config.covariates = COVARIATES
    config.cohort.root = str(small_cohort.write_bids(folder / "bids", 8))
    config.prepare.spacing_mm = small_cohort.PREPARE["spacing_mm"]
    config.prepare.intensity.update(small_cohort.PREPARE["intensity"])
    config.prepare.slices.update({k: v if k == "rule" else float(v) for k, v in small_cohort.PREPARE["slices"].items()})
    config.data.shards = str(folder / "shards")
    return configs.apply_overrides(config, [*SMALL, *STUDY])


def test_a_cohort_becomes_a_study(config, tmp_path: Path) -> None:
    before = configs.to_json(config)
    shards = bdj.prepare(config)
    assert shards.folder == Path(config.data.shards)
    assert shards.contract.counts["train"]["people"] > 0
    assert configs.to_json(config) == before

    run = bdj.train(config, tmp_path / "run", show_progress=False).run
    model = bdj.load(run, "diffusion")
    with pytest.raises(InputError, match="age, a run of"):
        bdj.load(run, "age")

    images = model.sample([{"age": 70, "sex": "F", "slice": 9}, {}], num_steps=2)
    assert images.shape == (2, *shards.contract.image_size, 1)
    folder = bdj.write_samples(model, [{"age": 70}, {}], model.sampling(), tmp_path / "images")
    assert folder.done == 2
    assert (tmp_path / "images" / "grid.png").exists()
    np.testing.assert_allclose(model.sweep([{"age": 70}, {}], [3.0])[0, 0], model.sample([{"age": 70}])[0], atol=1e-4)

    result = bdj.study(model, out=tmp_path / "study")
    assert [row.name for row in result.rows][-1] == "w=1"
    assert (tmp_path / "study" / "report.html").exists()
    assert (tmp_path / "study" / "study.json").exists()
