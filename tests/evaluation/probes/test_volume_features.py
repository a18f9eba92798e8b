"""Standardisation, pooling, names; Frechet distances of volumes against MONAI's."""

from __future__ import annotations

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

KERNEL = jax.random.normal(jax.random.key(0), (3, 3, 3, 1, 6))


def network(kernel, x):
    """One convolution and a ReLU: maps [n, x, y, z, 6]."""
    return jax.nn.relu(
        jax.lax.conv_general_dilated(x, kernel, (2, 2, 2), "SAME", dimension_numbers=("NHWDC", "HWDIO", "NHWDC"))
    )


def test_volumes_are_standardised_with_their_background():
    volumes = blobs((2, 8, 9, 7, 1), 0)
    volumes[1] = 0.25
    found = np.asarray(volume_features.standardised(jnp.asarray(volumes)))
    np.testing.assert_allclose(found[0], (volumes[0] - volumes[0].mean()) / volumes[0].std(), atol=1e-5)
    np.testing.assert_array_equal(found[1], 0)


def test_features_do_not_change_with_brightness_and_are_global_means():
    volumes = np.round(blobs((5, 10, 9, 8, 1), 0) * 255).astype(np.uint8)
    extractor = volume_features.pooled_extractor("tiny-conv", "1", network, KERNEL)
    found = extract(extractor, volumes, batch_size=2)
    assert (found.name, found.values.shape) == ("tiny-conv", (5, 6))
    prepared = volume_features.standardised(jnp.asarray(volumes, jnp.float32))
    np.testing.assert_allclose(found.values, network(KERNEL, prepared).mean((1, 2, 3)), atol=1e-4)
    darker = extract(extractor, volumes.astype(np.float32) / 255 * 0.7 + 0.1)
    np.testing.assert_allclose(found.values, darker.values, atol=1e-4)


@pytest.mark.parity
def test_the_distance_equals_monai():
    import torch
    from monai.metrics import FIDMetric

    extractor = volume_features.pooled_extractor("tiny-conv", "1", network, KERNEL)
    real, made = (extract(extractor, blobs((24, 9, 8, 10, 1), seed)).values for seed in (0, 1))
    expected = float(FIDMetric()(torch.as_tensor(made), torch.as_tensor(real)))
    assert frechet_distance(made, real) == pytest.approx(expected, rel=1e-4)


def test_distances_carry_the_name_and_refuse_another_network():
    features = [Features("medicalnet50", "abc", np.random.default_rng(s).normal(size=(12, 3))) for s in (0, 1)]
    people = [str(i) for i in range(12)]
    assert "FD[medicalnet50]" in measures.distances(*features, people, people, 4, 0)
    with pytest.raises(InputError, match="features: extractor"):
        measures.distances(features[0], Features("deepbet", "1", features[1].values), people, people, 4, 0)
