"""Latent diffusion on slices and on volumes: its cache, what it refuses, and what its run can alone."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
import small_shards
import tiny_runs

from brain_diffusion_jax import api
from brain_diffusion_jax import config as configs
from brain_diffusion_jax.api.samples import write_samples
from brain_diffusion_jax.cli.main import main
from brain_diffusion_jax.contract import Contract, ContractMismatch
from brain_diffusion_jax.data.shards import reader
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.tasks.latent_diffusion import frozen
from brain_diffusion_jax.tasks.latent_diffusion.config import CodecSettings
from brain_diffusion_jax.tasks.plan import plan
from brain_diffusion_jax.tasks.spec import spec
from brain_diffusion_jax.tasks.train import train

OWN = [line for line in tiny_runs.MODEL if line.split(".")[0] in ("model", "conditioning", "sample", "diffusion")]
TRAIN = [*OWN, "data.batch_size=4", "train.num_steps=2", "train.sample_every=2", "train.log_every=1"]
SIZES = {"slices": (8, 8), "volumes": (8, 9, 7)}


def make(folder: Path, size: tuple[int, ...]) -> tuple[Path, Path]:
    """(shards, run of an autoencoder of them)."""
    shards = small_shards.write_blobs(folder / "shards", size)
    return shards, tiny_runs.autoencoder_run(folder / "autoencoder", given=Contract.load(shards))


def config_of(shards: Path, autoencoder: Path, *overrides: str):
    told = [*TRAIN, f"data.shards={shards}", f"codec.autoencoder={autoencoder}", *overrides]
    return configs.apply_overrides(configs.base_config("latent_diffusion"), told)


def settings(autoencoder: Path) -> CodecSettings:
    """As `resolve` makes them."""
    model = frozen.open_autoencoder(CodecSettings(str(autoencoder)))
    mean, std = frozen.scale_of(model, "channel")
    return CodecSettings(str(autoencoder), mean=mean, std=std, weights=model.version)


@pytest.fixture(scope="module", params=SIZES, ids=list(SIZES))
def trained(request, tmp_path_factory):
    """(run, shards, autoencoder), trained for two steps with planes beside the tokens."""
    folder = tmp_path_factory.mktemp(request.param)
    shards, autoencoder = make(folder, SIZES[request.param])
    config = config_of(shards, autoencoder, "conditioning.planes=True")
    assert train(config, folder / "run", show_progress=False).step == 2
    return folder / "run", shards, autoencoder


def test_the_network_is_that_of_the_latents(trained):
    run, _, autoencoder = trained
    model, codec = api.load(run, "diffusion"), api.load(autoencoder, "autoencoder")
    assert model.config.model.spatial_dims == len(codec.latent_shape) - 1
    assert (model.config.model.in_channels, model.config.model.out_channels) == (4, 2)  # two planes
    assert not model.process.clip_x0
    assert model.config.codec.weights == codec.version
    x = np.zeros((1, *codec.latent_shape[:-1], 4))
    context = np.zeros((1, 2, 8))
    assert model.network(x, np.zeros(1), context).shape == (1, *codec.latent_shape)
    assert list((run / "samples").glob("*.png"))


def test_images_come_out_and_depend_on_seed_condition_and_place_alone(trained):
    run, shards, _ = trained
    model = api.load(run)
    asked = [{"age": 30.0, "sex": "F"}, {"age": 70.0}, {}]
    images = model.sample(asked, 2.0, seed=1)
    assert images.shape == (3, *Contract.load(shards).shape)
    assert images.dtype == np.float32
    assert 0 <= images.min() <= images.max() <= 1
    np.testing.assert_allclose(model.sample(asked, 2.0, seed=1, batch_size=1), images, atol=1e-5)
    assert not np.allclose(model.sample(asked, 2.0, seed=2), images)
    swept = model.sweep(asked[:2], [1.0, 2.0], seed=1)
    np.testing.assert_allclose(swept[1], images[:2], atol=1e-5)
    with pytest.raises(InputError, match="the autoencoder decodes no other"):
        model.sample(asked[:1], image_size=(4, 4))


def test_it_opens_without_the_run_of_its_autoencoder(trained, tmp_path):
    run, _, autoencoder = trained
    expected = api.load(run).sample([{"age": 50.0}], num_steps=1)
    moved = shutil.copytree(run, tmp_path / "moved")
    hidden = autoencoder.rename(autoencoder.with_name("hidden"))
    try:
        np.testing.assert_allclose(api.load(moved).sample([{"age": 50.0}], num_steps=1), expected, atol=1e-6)
    finally:
        hidden.rename(autoencoder)


def test_its_cost_is_planned_before_there_are_latents(tmp_path):
    shards, autoencoder = make(tmp_path, (8, 8))
    cost = plan(config_of(shards, autoencoder))
    assert cost.to_json()
    assert not (autoencoder / "latents").exists()


def test_samples_are_written(trained, tmp_path):
    run, shards, _ = trained
    model = api.load(run)
    folder = write_samples(model, [{"age": 40.0}], model.sampling(num_steps=1), tmp_path / "out")
    assert folder.done == 1
    contract = Contract.load(shards)
    if contract.kind == "volumes":
        import nibabel

        written = nibabel.load(tmp_path / "out" / "nifti" / "000000.nii.gz")
        assert written.shape == contract.image_size
        np.testing.assert_array_equal(written.affine, contract.grid.affine)


def test_the_cache_holds_posteriors_and_is_made_once(trained):
    run, shards, autoencoder = trained
    folder = frozen.cached_latents(settings(autoencoder), str(shards))
    assert folder.parent == autoencoder / "latents"
    stamp = (folder / reader.MANIFEST).stat().st_mtime_ns
    assert frozen.cached_latents(settings(autoencoder), str(shards)) == folder
    assert (folder / reader.MANIFEST).stat().st_mtime_ns == stamp
    images, kept = reader.read_all(shards, "train")["image"], reader.read_all(folder, "train")["image"]
    moments = np.concatenate(api.load(autoencoder, "autoencoder").moments(images), axis=-1)
    np.testing.assert_allclose(kept, moments, atol=1e-5)
    codec = api.load(run).codec
    stored, keys = replace(codec, stored=True), jax.random.split(jax.random.key(0), len(kept))
    live = codec.encode(images / np.float32(255), keys)
    np.testing.assert_allclose(stored.encode(kept, keys), live, atol=1e-4)


def test_a_cache_of_another_codec_scale_or_data_is_refused_by_name(tmp_path):
    shards, autoencoder = make(tmp_path, (8, 8))
    mine = replace(settings(autoencoder), cache=str(tmp_path / "cache"))
    folder = frozen.cached_latents(mine, str(shards))
    for key in ("weights", "mean", "data"):
        record = json.loads((folder / frozen.CODEC_FILE).read_text())
        (folder / frozen.CODEC_FILE).write_text(json.dumps({**record, key: "other"}))
        with pytest.raises(InputError, match=f"codec: found {key} 'other'"):
            frozen.cached_latents(mine, str(shards))
        (folder / frozen.CODEC_FILE).write_text(json.dumps(record))
    with pytest.raises(InputError, match="weights"):
        frozen.open_autoencoder(replace(mine, weights="0123456789ab"))


def test_a_run_does_not_go_on_with_another_scale(trained):
    run, shards, autoencoder = trained
    other = config_of(shards, autoencoder, "conditioning.planes=True", "codec.scale=none", "train.num_steps=3")
    with pytest.raises(InputError, match=r"codec\.mean.*codec\.std"):
        train(other, run, show_progress=False)


def test_settings_that_cannot_be_are_refused(tmp_path):
    shards, autoencoder = make(tmp_path, (8, 8))
    declared = spec("latent_diffusion")
    for overrides, words in (
        (["codec.autoencoder="], r"codec\.autoencoder: found nothing"),
        (["data.mirror=0.5"], r"data\.mirror"),
        (["codec.scale=both"], r"codec\.scale"),
    ):
        with pytest.raises(InputError, match=words):
            train(config_of(shards, autoencoder, *overrides), tmp_path / "run", show_progress=False)
    larger = small_shards.write_blobs(tmp_path / "larger", (10, 8))
    with pytest.raises(ContractMismatch, match="image_size"):
        train(config_of(larger, autoencoder), tmp_path / "run", show_progress=False)
    age = tiny_runs.age_run(tmp_path / "age")
    with pytest.raises(InputError, match="a run of kind age"):
        train(config_of(shards, age), tmp_path / "run", show_progress=False)
    assert declared.kind == "latent_diffusion"


def test_scales_are_a_channel_s_a_single_one_or_none(tmp_path):
    model = api.load(tiny_runs.autoencoder_run(tmp_path / "run"), "autoencoder")
    assert frozen.scale_of(model, "channel") == ((0.1, 0.1), (0.5, 0.5))
    assert frozen.scale_of(model, "none") == ((0.0, 0.0), (1.0, 1.0))
    assert frozen.scale_of(model, "single") == ((0.0, 0.0), (0.5, 0.5))  # equal means: the deviation is that of each


def test_the_memory_of_decoding_may_be_limited_for_a_call(trained, tmp_path, capsys):
    words = ["sample", str(trained[0]), "--set", "age=40", "--steps", "1", "--memory-gib"]
    assert main([*words, "1e-9", "--out", str(tmp_path / "none")]) == 2
    assert "codec.memory_gib: found 1e-09; expected" in capsys.readouterr().err
    assert main([*words, "1", "--out", str(tmp_path / "all"), "--no-nifti"]) == 0
