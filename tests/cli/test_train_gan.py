"""train-gan and train-class end to end on tiny shards: runs, resumes, samples, refuses."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from brain_diffusion_jax import api
from brain_diffusion_jax.cli.main import main
from brain_diffusion_jax.data.sample_folder import read_pictures
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.training.run_folder import checkpoints

CONFIG = """
from brain_diffusion_jax.config import base_config
def get_config():
    c = base_config()
    c.covariates = ({"name": "class", "values": ("dark", "light")},)
    c.pictures.size = 16
    c.split.stratify = ("class",)
    c.train.validate_every = c.train.checkpoint_every = 10
    c.gan.channels = (8, 8)
    c.gan.latent = 4
    c.gan.batch_size = c.class_model.batch_size = 8
    c.class_model.width = 0.25
    c.class_model.dense = ()
    for name in c.class_model.augmentation:  # slow to compile, and tested on its own
        c.class_model.augmentation[name] = 0.0
    c.class_model.validate_every = 20
    c.class_model.ema_decay = 0.5
    return c
"""


@pytest.fixture(scope="module")
def setting(tmp_path_factory):
    root, rng = tmp_path_factory.mktemp("gan"), np.random.default_rng(0)
    (root / "c.py").write_text(CONFIG)
    for word, level in (("dark", 60), ("light", 180)):
        (root / "real" / word).mkdir(parents=True)
        for i in range(20):
            pixels = np.clip(level + 40 * rng.standard_normal((16, 16)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / "real" / word / f"{i}.png")
    config, shards = str(root / "c.py"), root / "shards"
    assert main(["prepare", config, f"pictures.root={root / 'real'}", "--out", str(shards), "--json"]) == 0
    return root, config, f"data.shards={shards}"


def test_gan_trains_goes_on_and_samples_by_class_and_seed(setting, capsys, monkeypatch):
    root, config, shards = setting
    run = root / "gan"
    monkeypatch.chdir(root)
    monkeypatch.setenv("HOME", str(root))
    relative = ["train-gan", config, "data.shards=shards", "gan.num_steps=10", "--run=~/gan", "--quiet"]
    assert main(relative) == 0
    assert checkpoints.read_config(run)["data"]["shards"] == str(root / "shards")  # used from anywhere
    monkeypatch.undo()
    record = (run / "config.json").read_bytes()
    for wrong, words in (
        ("train.num_steps=5", "train.num_steps: found a setting that this command does not read"),
        ("gan.latent=5", "gan.latent=5 (run: 4)"),
    ):
        assert main(["train-gan", config, shards, wrong, "--run", str(run), "--quiet"]) == 2
        assert words in capsys.readouterr().err
        assert (run / "config.json").read_bytes() == record
    assert main(["train-gan", config, shards, "gan.num_steps=20", "--run", str(run), "--quiet"]) == 0
    assert checkpoints.saved_steps(run)[-1] == 20
    assert [row["changes"] for row in checkpoints.read_history(run)] == [{"gan.num_steps": [10, 20]}]
    capsys.readouterr()
    assert main(["info", str(run)]) == 0
    shown = capsys.readouterr().out
    assert "steps        20 of 20" in shown
    assert "changed      at step 10: gan.num_steps 10 -> 20" in shown
    assert "gan.latent" in shown
    for other in ("model.channels", "age_model.", "train.num_steps", "optimizer.", "validation loss"):
        assert other not in shown, other
    assert main(["info", str(run), "--all"]) == 0
    assert "critic_steps" in capsys.readouterr().out
    assert main(["convert", "safetensors", str(run), "--out", str(root / "gan.safetensors")]) == 0
    card = (root / "gan.md").read_text()
    assert "| gan.critic_steps | 5 |" in card
    assert "| gan.batch_size | 8 |" in card
    assert "wasserstein" in card
    assert not any(other in card for other in ("| model.", "| optimizer.", "| data.batch_size", "age_model"))
    model = api.load(run)
    asked = [{"class": "dark"}, {"class": "light"}, {}]
    first = model.sample(asked, seed=1)
    assert first.shape == (3, 16, 16, 1)
    assert np.abs(first - model.sample(asked, 2)).max() > 1e-3
    out = root / "pictures"
    sample = ["sample", str(run), "--set", "class=dark,light", "--each", "2", "--seed", "1"]
    assert main([*sample, "--out", str(out), "--batch", "3"]) == 0
    images, rows = read_pictures(out)
    assert [row["class"] for row in rows] == ["dark", "dark", "light", "light"]
    assert {row["guidance_scale"] for row in rows} == {""}
    np.testing.assert_allclose(images[0], first[0], atol=1 / 255)
    for word, option, words in (
        ("grey", [], "one of dark, light"),
        ("dark", ["--guidance", "2"], "--guidance"),
        ("dark", ["--steps", "5"], "--steps"),
        ("dark", ["--stack"], "found gan; expected diffusion"),
    ):
        assert main(["sample", str(run), "--set", f"class={word}", *option, "--out", str(root / "no")]) == 2
        assert words in capsys.readouterr().err
    assert main(["sweep", str(run), "--scales", "1,2", "--out", str(root / "no")]) == 2
    assert "found gan; expected diffusion" in capsys.readouterr().err
    assert not (root / "no").exists()


def test_classifier_learns_an_easy_class_and_reports(setting, capsys):
    root, config, shards = setting
    run = root / "class"
    assert main(["train-class", config, shards, "class_model.num_steps=60", "--run", str(run), "--quiet"]) == 0
    judge = api.load(run, "class")
    assert judge.words == ("dark", "light")
    pictures = np.stack([np.full((16, 16, 1), level, np.float32) for level in (60 / 255, 180 / 255)])
    rng = np.random.default_rng(1)
    pictures = np.clip(pictures + 0.15 * rng.standard_normal(pictures.shape), 0, 1)
    found = judge.probabilities(pictures)
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-5)
    assert found.argmax(1).tolist() == [0, 1]
    assert judge.features(pictures).ndim == 2
    assert (run / "class_report.json").exists()
    capsys.readouterr()
    assert main(["info", str(run)]) == 0
    shown = capsys.readouterr().out
    assert "steps        60 of 60" in shown
    assert "class_model.width" in shown
    assert "age_model." not in shown
    assert main(["convert", "safetensors", str(run), "--out", str(root / "class.safetensors")]) == 0
    card = (root / "class.md").read_text()
    assert "| class_model.width | 0.25 |" in card
    assert "validation_accuracy" in card
    assert "model.probabilities(" in card
    with pytest.raises(InputError, match="diffusion or gan"):
        api.load(run, "generator")
