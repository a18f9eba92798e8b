"""Seeds: what is none of the 2^32 is refused wherever one enters, since JAX would take it modulo 2^32."""

from __future__ import annotations

import numpy as np
import pytest
import tiny_runs

from brain_diffusion_jax import api, config
from brain_diffusion_jax.cli.main import main
from brain_diffusion_jax.data.phantoms.phantom import write_cohort
from brain_diffusion_jax.diffusion.plan import SamplingConfig
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation.study.study_settings import StudySettings
from brain_diffusion_jax.seeds import COUNT, check_seed

BAD = [-1, COUNT, COUNT + 3, 2**70]


@pytest.mark.parametrize("seed", [*BAD, 1.5, "3", None, float("nan")])
def test_no_seed(seed, tmp_path):
    for call in (
        lambda: check_seed(seed, "here"),
        lambda: SamplingConfig(seed=seed),
        lambda: StudySettings(seed=seed),
        lambda: write_cohort(tmp_path / "new", 1, seed),
    ):
        with pytest.raises(InputError, match=r"seed: found .*; expected a whole number from 0 to 4294967295"):
            call()
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("seed", [0, COUNT - 1, np.int64(7), np.uint32(COUNT - 1)])
def test_a_seed(seed):
    assert check_seed(seed, "here") == seed


@pytest.mark.parametrize("seed", map(str, BAD))
def test_options_refuse_it_before_anything_is_read(seed, capsys):
    for words in (
        ["sample", "nowhere", "--out", "x"],
        ["study", "nowhere"],
        ["evaluate", "nowhere"],
        ["gate", "nowhere", "--classifier", "c", "--shards", "s", "--out", "x"],
        ["phantom", "--out", "x"],
    ):
        assert main([*words, f"--seed={seed}"]) == 2
        assert "0 to 4294967295" in capsys.readouterr().err


def test_configs_refuse_it_whether_in_a_file_or_an_override(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "from brain_diffusion_jax.config import base_config\n"
        "def get_config():\n    c = base_config()\n    c.split.seed = -3\n    return c\n"
    )
    with pytest.raises(InputError, match=r"mine\.py: split\.seed: found -3"):
        config.load_config(file)
    for section in ("seed", "split.seed", "study.seed"):
        with pytest.raises(InputError, match=f"{section}: found {COUNT}"):
            config.apply_overrides(config.base_config(), [f"{section}={COUNT}"])


def test_a_generator_refuses_it_and_knows_the_last_one(tmp_path):
    model = api.load(tiny_runs.gan_run(tmp_path / "run"))
    for seed in BAD:
        with pytest.raises(InputError, match="seed"):
            model.sample([{}], seed=seed)
    assert not np.array_equal(model.sample([{}], seed=COUNT - 1), model.sample([{}], seed=0))
