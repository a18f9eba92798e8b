"""A bundle folder as the published brain model's, made small: what is found in it, and what is refused."""

from __future__ import annotations

import json
import shutil

import jax
import numpy as np
import pytest
from flax import traverse_util

from brain_diffusion_jax.conversion import monai, monai_autoencoder, monai_bundle, torch_files
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.models import factory
from brain_diffusion_jax.models.autoencoder import Autoencoder
from brain_diffusion_jax.models.autoencoder_config import AutoencoderConfig
from tests.conversion.test_monai import MODEL

NETWORK = Autoencoder(
    AutoencoderConfig(
        "monai", (4, 4), num_res_blocks=1, attention_levels=False, latent_channels=3, norm_num_groups=2, norm_eps=1e-5
    ),
    3,
    1,
    1,
)
UNET = {**MODEL, "spatial_dims": 3, "in_channels": 7, "out_channels": 3, "context_dim": 4, "upcast_attention": True}
CONFIG = {
    "bundle_root": ".",
    "groups": 2,
    "model_dir": "$@bundle_root + '/models'",
    "autoencoder_def": {
        "_target_": "monai.networks.nets.AutoencoderKL",
        "spatial_dims": 3,
        "norm_num_groups": "@groups",
        "norm_eps": 1e-5,
    },
    "network_def": "@autoencoder_def",
    "diffusion_def": {
        "_target_": "monai.networks.nets.DiffusionModelUNet",
        "norm_num_groups": 2,
        "norm_eps": 1e-6,
        "num_head_channels": [0, 4],
        "upcast_attention": True,
    },
    "scheduler": {
        "_target_": "monai.networks.schedulers.DDIMScheduler",
        "_requires_": ["@load_diffusion"],
        "beta_start": 0.0015,
        "beta_end": 0.0205,
        "num_train_timesteps": 1000,
        "schedule": "scaled_linear_beta",
        "clip_sample": False,
    },
}


def drawn(shapes):
    rng = np.random.default_rng(0)
    return traverse_util.unflatten_dict({p: rng.standard_normal(s).astype(np.float32) for p, s in shapes.items()})


@pytest.fixture(scope="module")
def params():
    return drawn(monai_autoencoder.expected_shapes(NETWORK)), drawn(monai.expected_shapes(factory.unet(UNET)))


@pytest.fixture(scope="module")
def original(params, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundle") / "brain"
    (folder / "models").mkdir(parents=True)
    (folder / "configs").mkdir()
    state = monai_autoencoder.to_monai(params[0], NETWORK, names="old")
    torch_files.write_state(folder / "models" / "autoencoder.safetensors", {f"module.{k}": v for k, v in state.items()})
    torch_files.write_state(folder / "models" / "model.safetensors", monai.to_monai(params[1], UNET, names="old"))
    (folder / "configs" / "inference.json").write_text(json.dumps(CONFIG))
    (folder / "configs" / "metadata.json").write_text("{}")
    return folder


@pytest.fixture
def bundle(original, tmp_path):
    return shutil.copytree(original, tmp_path / "bundle")


def rewrite(folder, **changes):
    path = folder / "configs" / "inference.json"
    content = {k: v for k, v in {**CONFIG, **changes}.items() if v is not None}
    path.write_text(json.dumps(content))


def test_both_networks_and_the_noise_are_found(original, params):
    found = monai_bundle.read_bundle(original)
    assert found.autoencoder.network == NETWORK
    jax.tree.map(np.testing.assert_array_equal, found.autoencoder.params, params[0])
    jax.tree.map(np.testing.assert_array_equal, found.unet.params, params[1])
    assert found.unet.model["upcast_attention"] is True
    assert found.diffusion == dict(
        schedule="scaled_linear",
        num_train_steps=1000,
        beta_start=0.0015,
        beta_end=0.0205,
        prediction="eps",
        clip_x0=False,
        clip_range=None,
        clip_keeps_eps=True,
    )
    assert found.latent_scale == 1
    assert any("latent scale 1: no scale_factor" in note for note in found.notes)
    assert any("spacing=leading" in note for note in found.notes)


def test_a_scale_is_read(bundle):
    rewrite(bundle, scale_factor=0.75)
    found = monai_bundle.read_bundle(bundle)
    assert found.latent_scale == 0.75
    assert "latent scale 0.75" in found.notes
    rewrite(bundle, scale_factor="$1 / torch.std(z)")
    with pytest.raises(InputError, match=r"scale_factor: found \$1 / torch\.std\(z\)"):
        monai_bundle.read_bundle(bundle)
    assert monai_bundle.read_bundle(bundle, 0.5).latent_scale == 0.5


def test_what_cannot_be_read_is_named(bundle):
    rewrite(bundle, autoencoder_def={**CONFIG["autoencoder_def"], "norm_num_groups": "$1 + 1"})
    with pytest.raises(InputError, match=r"inference\.json: autoencoder_def\.norm_num_groups: found \$1 \+ 1"):
        monai_bundle.read_bundle(bundle)
    rewrite(bundle, autoencoder_def=None, network_def=None)
    with pytest.raises(InputError, match=r"autoencoder\.safetensors: architecture: .*norm_num_groups"):
        monai_bundle.read_bundle(bundle)
    rewrite(bundle, groups="@groups")
    with pytest.raises(InputError, match="a reference to a key of this file"):
        monai_bundle.read_bundle(bundle)
    rewrite(bundle, scheduler=None)
    with pytest.raises(InputError, match="scheduler: found no _target_"):
        monai_bundle.read_bundle(bundle)
    rewrite(bundle, scheduler={**CONFIG["scheduler"], "schedule": "quadratic"})
    with pytest.raises(InputError, match=r"scheduler\.schedule: found quadratic"):
        monai_bundle.read_bundle(bundle)


def test_what_a_definition_leaves_out_is_what_monai_builds(bundle):
    short = {k: v for k, v in CONFIG["autoencoder_def"].items() if k not in ("norm_num_groups", "norm_eps")}
    rewrite(bundle, autoencoder_def=short)
    with pytest.raises(InputError, match=r"norm_num_groups: found 32; expected a divisor"):  # of (4, 4)
        monai_bundle.read_bundle(bundle)
    rewrite(bundle, autoencoder_def={**short, "norm_num_groups": 2})
    assert monai_bundle.read_bundle(bundle).autoencoder.config.norm_eps == 1e-6


def test_weights_that_are_not_there_or_twice(bundle):
    models = bundle / "models"
    shutil.copy(models / "model.safetensors", models / "other.safetensors")
    with pytest.raises(InputError, match=r"unet: found model\.safetensors and other\.safetensors"):
        monai_bundle.read_bundle(bundle)
    (models / "other.safetensors").unlink()
    (models / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"unet: found autoencoder\.safetensors without it"):
        monai_bundle.read_bundle(bundle)
    with pytest.raises(InputError, match="models: found no weights"):
        monai_bundle.read_bundle(bundle / "configs")
