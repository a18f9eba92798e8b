"""What each objective reads of a config, and the road of a volume GAN from shards to NIfTI files."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
import small_shards
import tiny_runs

from brain_diffusion_jax import api
from brain_diffusion_jax import config as configs
from brain_diffusion_jax.cli.main import main
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.tasks.gan.config import GanModel
from brain_diffusion_jax.tasks.gan.objectives import OBJECTIVES
from brain_diffusion_jax.tasks.spec import spec
from brain_diffusion_jax.training.run_folder import checkpoints

SIZE = (7, 6, 5)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_run_records_the_settings_of_its_objective_and_no_other(name):
    declared = spec("gan")
    config = configs.apply_overrides(configs.base_config("gan"), [f"gan.objective={name}", "gan.latent=7"])
    whole = declared.resolve(declared.read(config), None)
    record = declared.record(whole)
    own = {key for key, value in record["gan"].items() if value is not None}
    assert own == {"objective", "batch_size", "num_steps", "ema_decay", *configs.section(OBJECTIVES[name])}
    assert record["gan"]["latent"] == 7
    assert declared.read(configs.from_json(record)) == whole


def test_a_run_of_0_1_is_a_wgan_gp():
    old = {"channels": [64, 32], "latent": 9, "conditional": True, "penalty": 5.0, "critic_steps": 3}
    read = spec("gan").read(configs.from_json({"kind": "gan", "gan": old})).gan
    assert (read.objective, read.chosen.channels, read.chosen.penalty) == ("wgan-gp", (64, 32), 5.0)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"objective": "lsgn"}, "gan.objective: found lsgn; expected wgan-gp, lsgan or vae-gan"),
        ({"kl": 0.1}, "gan.kl: found 0.1, which objective 'wgan-gp' does not read; expected nearest"),
        ({"objective": "lsgan", "penalty": 1.0}, "gan.penalty: found 1.0, which objective 'lsgan' does not read"),
        ({"objective": "lsgan", "features": 1.0}, "objective 'lsgan' does not read; expected nearest"),
        ({"objective": "vae-gan", "critic_chanels": (8,)}, "gan.critic_chanels.*nearest: .*critic_channels"),
        ({"objective": "vae-gan", "kl": -1.0}, "gan.kl: found -1.0"),
        ({"objective": "vae-gan", "variational": False}, "gan.variational"),
        ({"objective": "lsgan", "critic_steps": 0}, "gan.critic_steps: found 0"),
        ({"objective": "lsgan", "channels": (12, 8)}, "gan.channels"),
        ({"latent": "many"}, "gan.latent: found str 'many'; expected int"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, words):
    with pytest.raises(InputError, match=words):
        configs.build(GanModel, settings, prefix="gan.")


def test_volumes_from_shards_to_a_trained_lsgan_and_its_nifti(tmp_path, capsys):
    shards = small_shards.write_blobs(tmp_path / "shards", SIZE)
    config, run = tmp_path / "c.py", str(tmp_path / "run")
    config.write_text(
        "from brain_diffusion_jax.config import base_config\n"
        "def get_config():\n"
        "    c = base_config('gan')\n"
        "    c.gan.update({'objective': 'lsgan', 'channels': (16, 8), 'critic_channels': (4,), 'latent': 3})\n"
        "    c.gan.batch_size, c.gan.num_steps, c.train.validation_samples = 2, 2, 2\n"
        "    c.train.validate_every = c.train.checkpoint_every = 2\n"
        "    return c\n"
    )
    words = ["train", str(config), f"data.shards={shards}", "--run", run, "--quiet"]
    assert main(words) == 0
    assert checkpoints.read_config(tmp_path / "run")["gan"]["critic_steps"] == 1
    capsys.readouterr()
    assert main([*words, "gan.objective=vae-gan"]) == 2
    assert "gan.objective" in capsys.readouterr().err
    assert main(["sample", run, "--set", "age=40", "--out", str(tmp_path / "made")]) == 0
    (path,) = (tmp_path / "made").rglob("*.nii.gz")
    made = nibabel.load(path)
    assert made.shape == SIZE
    np.testing.assert_array_equal(made.affine, np.diag([4.0, 4.0, 4.0, 1.0]))
    (tmp_path / "rows.csv").write_text("age,sex\n30,F\n70,M\n40,F\n")
    words = ["generate", run, "--conditions", str(tmp_path / "rows.csv"), "--batch", "2"]
    for part in ("0/2", "1/2"):
        assert main([*words, "--out", str(tmp_path / "parts"), "--shard", part]) == 0
    assert main([*words, "--out", str(tmp_path / "whole")]) == 0
    files = {p.relative_to(tmp_path / "whole") for p in (tmp_path / "whole").rglob("*.nii.gz")}
    assert len(files) == 3
    for file in files:
        assert (tmp_path / "whole" / file).read_bytes() == (tmp_path / "parts" / file).read_bytes()
    capsys.readouterr()
    assert main([*words, "--out", str(tmp_path / "no"), "--steps", "5"]) == 2
    assert "--steps: found 5" in capsys.readouterr().err


@pytest.mark.parametrize("name", tiny_runs.OBJECTIVES)
def test_a_volume_is_float32_in_0_to_1_and_follows_seed_and_condition(name, tmp_path):
    contract = small_shards.Blobs(SIZE, 3).contract()
    model = api.load(tiny_runs.gan_run(tmp_path / "run", *tiny_runs.OBJECTIVES[name], given=contract), "gan")
    asked = [{"age": 30, "sex": "F"}, {"age": 70, "sex": "F"}, {}]
    made = model.sample(asked, seed=1)
    assert (made.shape, made.dtype) == ((3, *SIZE, 1), np.float32)
    assert 0 <= made.min() < made.max() <= 1
    np.testing.assert_allclose(made, model.sample(asked, seed=1, batch_size=2), atol=1e-6)
    assert np.abs(made - model.sample(asked, seed=2)).max() > 1e-3
    assert np.abs(made[0] - model.sample([asked[1]], seed=1)[0]).max() > 1e-4
