"""A small bundle folder to two run folders that open, decode and sample as MONAI's networks do."""

from __future__ import annotations

import json

import numpy as np
import pytest
import small_shards

import brain_diffusion_jax as bdj
from brain_diffusion_jax.api import bundles
from brain_diffusion_jax.errors import InputError
from tests.conversion.test_monai_bundle import CONFIG, NETWORK, UNET, original, params, rewrite
from tests.models.random_weights import cheaply

__all__ = ["original", "params"]
NAMES = ["sex", "age", "ventricular_volume", "brain_volume"]
METADATA = {
    "network_data_format": {
        "inputs": {"image": {"channel_def": dict(enumerate(["Sex", "Age", "Ventricular volume", "Brain volume"]))}},
        "outputs": {"pred": {"spatial_shape": [4, 6, 4], "value_range": [0, 1]}},
    }
}


def test_both_runs_open_and_are_the_bundles_networks(original, params, tmp_path):
    (original / "configs" / "metadata.json").write_text(json.dumps(METADATA))
    rewrite(original, scale_factor=0.5)
    lines = bundles.import_bundle(original, tmp_path / "brain")
    assert any("fractions from 0 to 1" in line for line in lines)
    autoencoder = bdj.load(tmp_path / "brain" / "autoencoder")
    z = np.random.default_rng(0).standard_normal((1, 2, 3, 2, 3)).astype(np.float32)
    want = cheaply(lambda p, z: NETWORK.apply({"params": p}, z, method="decode"), params[0], z)
    np.testing.assert_allclose(autoencoder.decode(z), np.clip(want, 0, 1), atol=1e-5)

    model = bdj.load(tmp_path / "brain" / "latent_diffusion")
    assert [c.name for c in model.schema.covariates] == NAMES
    assert model.config.conditioning.planes
    np.testing.assert_allclose(model.codec.decode(0.5 * z), np.clip(want, 0, 1), atol=1e-5)
    images = model.sample([dict.fromkeys(NAMES, 0.5)], num_steps=2)
    assert images.shape == (1, 4, 6, 4, 1)
    assert np.isfinite(images).all()
    assert model.sampling().spacing == "leading"
    with pytest.raises(InputError, match=r"spacing: found linear, of DDIM; expected leading.*monai"):
        model.sample([dict.fromkeys(NAMES, 0.5)], num_steps=2, spacing="linear")


def test_what_does_not_fit_is_refused_and_nothing_written(original, tmp_path):
    (original / "configs" / "metadata.json").write_text("{}")
    rewrite(original, **CONFIG)
    with pytest.raises(InputError, match=r"spatial_shape: found nothing; expected 3 numbers \(--size"):
        bundles.import_bundle(original, tmp_path / "brain")
    small_shards.Blobs((4, 6, 4), 3).contract().save(tmp_path)
    with pytest.raises(InputError, match=r"conditions: found 4 planes and a context of 4; expected 2 of age, sex"):
        bundles.import_bundle(original, tmp_path / "brain", contract=tmp_path)
    assert not (tmp_path / "brain").exists()
    assert UNET["in_channels"] == 7
