"""A regressor of the age of volumes, trained through the ordinary command's function and opened again."""

from __future__ import annotations

import numpy as np
import pytest

import brain_diffusion_jax as bdj
from brain_diffusion_jax import config as configs
from brain_diffusion_jax.data.shards.splits import SplitSpec
from brain_diffusion_jax.data.shards.writer import write_shards
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation.probes import input_profile
from brain_diffusion_jax.tasks.age import report
from tests.test_other_shapes import VOLUMES, Arrays


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("volumes") / "shards"
    write_shards(folder, Arrays(VOLUMES, 24), SplitSpec(train=0.5, validation=0.25, test=0.25, seed=2))
    return folder


def age_config(shards, backbone: str):
    config = configs.kind_config(configs.base_config("age"), "age")
    with config.unlocked(), config.ignore_type():
        config.data.shards = str(shards)
        config.age_model.update(
            backbone=backbone, dense=(), bins=4, loss="distribution", batch_size=2, num_steps=2, validate_every=2
        )
        if backbone == "sfcn":
            config.age_model.backbone_options = {"published": (2, 3, 2)}
    return config


def test_it_trains_and_reads_volumes(shards, tmp_path):
    run = bdj.train(age_config(shards, "sfcn"), tmp_path / "run", show_progress=False).run
    model = bdj.load(run)
    assert model.kind == "age"
    volumes = np.random.default_rng(0).uniform(size=(3, *VOLUMES.shape)).astype(np.float32)
    ages = model.predict(volumes)
    assert ages.shape == (3,)
    assert np.isfinite(ages).all()
    assert model.features(volumes).shape == (3, 2)
    with pytest.raises(InputError, match=r"\[n, x, y, z, 1 or 3\]"):
        model.predict(volumes[..., 0])


def test_its_report_has_no_input_profile_which_is_of_slices(shards, tmp_path):
    config = age_config(shards, "sfcn")
    run = bdj.train(config, tmp_path / "run", show_progress=False).run
    result = report.write(run, str(shards), replicates=5)
    assert result["input_profile"] is False
    assert {"validation", "test"} <= result.keys()
    assert not (run / input_profile.FILE_NAME).exists()
    assert "no input profile (few scans and volumes have none)" in report.summary(result, run)


def test_a_backbone_of_slices_is_refused_by_name(shards, tmp_path):
    with pytest.raises(InputError, match="of 2 axes, for images of 3; expected small_volume_cnn or sfcn"):
        bdj.train(age_config(shards, "small_cnn"), tmp_path / "run", show_progress=False)
