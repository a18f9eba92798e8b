"""An autoencoder trained on slices and on volumes through the one way to train, and what its run then can."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import small_shards
import tiny_runs

from brain_diffusion_jax import api
from brain_diffusion_jax import config as configs
from brain_diffusion_jax.data.shards.reader import read_all
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.pixels import to_unit
from brain_diffusion_jax.tasks.autoencoder import report
from brain_diffusion_jax.tasks.train import train

TRAIN = [
    *tiny_runs.AUTOENCODER,
    "data.batch_size=4",
    "train.num_steps=60",
    "train.validate_every=20",
    "train.ema_decay=0.8",
    "optimizer.learning_rate=0.01",
    "optimizer.warmup_steps=2",
    "loss.collapse_from=60",
]


@pytest.fixture(scope="module", params=[(8, 8), (8, 9, 7)], ids=["slices", "volumes"])
def trained(request, tmp_path_factory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("autoencoder")
    shards = str(small_shards.write_blobs(folder / "shards", request.param))
    crops = ["crops.size=6", "crops.share=0.2"] if len(request.param) == 3 else []
    config = configs.apply_overrides(configs.base_config("autoencoder"), [*TRAIN, *crops, f"data.shards={shards}"])
    outcome = train(config, folder / "run", show_progress=False)
    assert outcome.step == 60
    return folder / "run", shards


def test_it_learns_and_reconstructs(trained):
    run, shards = trained
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    losses = [row["validation_loss"] for row in rows if "validation_loss" in row]
    assert losses[-1] < 0.8 * losses[0]
    model = api.load(run, "autoencoder")
    images = to_unit(read_all(shards, "test")["image"])
    latents = model.encode(images)
    assert latents.shape == (len(images), *model.latent_shape)
    assert latents.dtype == np.float32
    np.testing.assert_allclose(model.reconstruct(images), model.decode(latents), atol=1e-6)
    made = model.reconstruct(images)
    assert made.shape == images.shape
    assert 0 <= made.min() <= made.max() <= 1
    assert np.abs(made - images).mean() < np.abs(images - images.mean()).mean()


def test_the_latent_scale_is_that_of_the_training_set(trained):
    run, shards = trained
    model = api.load(run, "autoencoder")
    mean, log_variance = model.moments(read_all(shards, "train")["image"])
    axes = tuple(range(mean.ndim - 1))
    np.testing.assert_allclose(model.latent_scale.mean, mean.astype(float).mean(axes), rtol=1e-4, atol=1e-6)
    expected = np.sqrt(mean.astype(float).var(axes) + np.exp(log_variance.astype(float)).mean(axes))
    np.testing.assert_allclose(model.latent_scale.std, expected, rtol=1e-4)
    assert model.config.latent.weights == model.version
    assert len(model.config.latent.kl) == model.latent_channels


def test_the_report_stands_beside_its_floors(trained):
    run, shards = trained
    result = report.write(run, shards, replicates=10)
    names = [report.OWN, "DCT low-pass", "PCA-", "training mean"]
    assert [n for name in result["test"] for n in names if name.startswith(n)] == names
    psnr = {name: numbers["PSNR"]["value"] for name, numbers in result["test"].items()}
    assert all(np.isfinite(v) for v in psnr.values())
    model = api.load(run, "autoencoder")
    images = to_unit(read_all(shards, "test")["image"])
    error = ((model.reconstruct(images) - images) ** 2).reshape(len(images), -1).mean(1)
    assert psnr[report.OWN] == pytest.approx((-10 * np.log10(error)).mean(), abs=1e-3)
    assert result["latent_numbers"] == np.prod(model.latent_shape)
    text = report.summary(result, run)
    assert "PSNR in brain" in text
    assert "training mean" in text
    assert (run / report.PICTURE).is_file()
    assert json.loads((run / report.REPORT).read_text())["step"] == 60


def test_what_is_no_image_of_it_is_refused(trained):
    run, _ = trained
    model = api.load(run, "autoencoder")
    size = model.contract.shape
    cases = {
        "0 to 255": np.full((1, *size), 255.0, np.float32) * np.linspace(0, 1, size[-2])[:, None],
        "nan": np.full((1, *size), np.nan, np.float32),
        "shape": np.zeros((1, *size[:-1], 2), np.float32),
    }
    for words, images in cases.items():
        with pytest.raises(InputError, match=words):
            model.encode(images)
    with pytest.raises(InputError, match="NaN or infinity"):
        model.decode(np.full((1, *model.latent_shape), np.inf))
    with pytest.raises(InputError, match="shape"):
        model.decode(np.zeros(model.latent_shape))


def test_an_absent_or_foreign_scale_is_refused(tmp_path):
    absent = api.load(tiny_runs.autoencoder_run(tmp_path / "run"), "autoencoder")
    assert absent.latent_scale.std.shape == (2,)
    for weights, words in (("", "no scale"), ("0123456789ab", "0123456789ab")):
        items = json.loads((tmp_path / "run" / "config.json").read_text())
        items["latent"]["weights"] = weights
        (tmp_path / "run" / "config.json").write_text(json.dumps(items))
        with pytest.raises(InputError, match=words):
            _ = api.load(tmp_path / "run", "autoencoder").latent_scale
