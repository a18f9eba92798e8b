"""Pooling, few at a time, names; Frechet distances of volumes against MONAI's."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from similar_images import blobs

from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation.metrics import measures
from brain_diffusion_jax.evaluation.metrics.frechet import frechet_distance
from brain_diffusion_jax.evaluation.probes import volume_features
from brain_diffusion_jax.evaluation.probes.features import Features, extract
from brain_diffusion_jax.models.backbones import deepbet
from brain_diffusion_jax.models.backbones.medicalnet import prepare_input

KERNEL = jax.random.normal(jax.random.key(0), (3, 3, 3, 1, 6))


def network(kernel, x):
    """One convolution and a ReLU: maps [n, x, y, z, 6]."""
    return jax.nn.relu(
        jax.lax.conv_general_dilated(x, kernel, (2, 2, 2), "SAME", dimension_numbers=("NHWDC", "HWDIO", "NHWDC"))
    )


def test_features_do_not_change_with_brightness_and_are_global_means():
    volumes = np.round(blobs((5, 10, 9, 8, 1), 0) * 255).astype(np.uint8)
    extractor = volume_features.pooled_extractor("tiny-conv", "1", network, KERNEL, prepare_input)
    found = extract(extractor, volumes, batch_size=2)
    assert (found.name, found.values.shape) == ("tiny-conv", (5, 6))
    prepared = prepare_input(jnp.asarray(volumes, jnp.float32))
    np.testing.assert_allclose(found.values, network(KERNEL, prepared).mean((1, 2, 3)), atol=1e-4)
    darker = extract(extractor, volumes.astype(np.float32) / 255 * 0.7 + 0.1)
    np.testing.assert_allclose(found.values, darker.values, atol=1e-4)


def test_many_voxels_go_through_a_network_a_few_volumes_at_a_time(monkeypatch):
    volumes, seen = blobs((5, 10, 9, 8, 1), 0), []

    def watched(kernel, x):
        seen.append(len(x))
        return network(kernel, x)

    extractor = volume_features.pooled_extractor("tiny-conv", "1", watched, KERNEL, prepare_input)
    whole = extract(extractor, volumes).values
    monkeypatch.setattr(volume_features, "_VOXELS", 2 * 720)
    np.testing.assert_allclose(extract(extractor, volumes).values, whole, atol=1e-5)
    assert sorted(seen) == [1, 2, 5]


@dataclass
class Stages:
    """Has maps as the encoders have them: the second is half as large."""

    depth: int = 50

    def apply(self, kernel, x):
        first = network(kernel, x)
        return first, first[:, ::2, ::2, ::2, :2] + 1


def test_medicalnet_gives_its_last_maps_pooled_and_deepbet_all():
    volumes = blobs((2, 9, 8, 10, 1), 0)
    last = extract(volume_features.medicalnet_extractor(Stages(), KERNEL, "abc"), volumes)
    assert (last.name, last.version) == ("medicalnet50", "abc")
    maps = Stages().apply(KERNEL, prepare_input(volumes))
    np.testing.assert_allclose(last.values, maps[-1].mean((1, 2, 3)), atol=1e-4)
    every = extract(volume_features.deepbet_extractor(Stages(), KERNEL, "abc"), volumes)
    assert every.name == "deepbet"
    maps = Stages().apply(KERNEL, deepbet.prepare_input(volumes))
    np.testing.assert_allclose(every.values, np.concatenate([m.mean((1, 2, 3)) for m in maps], -1), atol=1e-4)


@pytest.mark.parity
def test_the_distance_equals_monai():
    import torch
    from monai.metrics import FIDMetric

    extractor = volume_features.medicalnet_extractor(Stages(), KERNEL, "abc")
    real, made = (extract(extractor, blobs((24, 9, 8, 10, 1), seed)).values for seed in (0, 1))
    expected = float(FIDMetric()(torch.as_tensor(made), torch.as_tensor(real)))
    assert frechet_distance(made, real) == pytest.approx(expected, rel=1e-4)


def test_distances_carry_the_name_and_refuse_another_network():
    features = [Features("medicalnet50", "abc", np.random.default_rng(s).normal(size=(12, 3))) for s in (0, 1)]
    people = [str(i) for i in range(12)]
    assert "FD[medicalnet50]" in measures.distances(*features, people, people, 4, 0)
    with pytest.raises(InputError, match="features: extractor"):
        measures.distances(features[0], Features("deepbet", "1", features[1].values), people, people, 4, 0)
