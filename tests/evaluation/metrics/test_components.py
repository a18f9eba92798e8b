"""Principal components against a direct singular value decomposition."""

from __future__ import annotations

import numpy as np
import pytest
from similar_images import blobs

from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation.metrics import components


@pytest.mark.parametrize("shape", [(9, 12, 10, 3), (7, 8, 9, 7, 1)])
@pytest.mark.parametrize("values", [2**24, 300])  # one block, and many
def test_components_equal_the_singular_value_decomposition(shape, values, monkeypatch):
    monkeypatch.setattr(components, "_VALUES", values)
    images = blobs(shape, 0)
    found = components.principal_components(images, 4)
    flat = images.reshape(len(images), -1).astype(np.float64)
    _, sizes, directions = np.linalg.svd(flat - flat.mean(0), full_matrices=False)
    np.testing.assert_allclose(found.mean.ravel(), flat.mean(0), atol=1e-6)
    np.testing.assert_allclose(np.abs(found.basis @ directions[:4].T), np.eye(4), atol=1e-4)
    np.testing.assert_allclose(found.variances, sizes[:4] ** 2 / (len(images) - 1), rtol=1e-4)
    projected = flat.mean(0) + (flat - flat.mean(0)) @ directions[:4].T @ directions[:4]
    np.testing.assert_allclose(found.restore(found.scores(images)).reshape(projected.shape), projected, atol=1e-4)


def test_all_components_rebuild_the_training_images_exactly():
    images = np.round(blobs((6, 9, 8, 1), 1) * 255).astype(np.uint8)
    found = components.principal_components(images, 100)
    assert len(found.basis) == 5
    np.testing.assert_allclose(found.restore(found.scores(images)), images / 255, atol=1e-5)
    repeated = components.principal_components(np.concatenate([images[:3], images[:3]]), 100)
    assert len(repeated.basis) == 2


def test_bad_requests_are_refused():
    images = blobs((4, 9, 8, 1), 1)
    with pytest.raises(InputError, match="at least 1, of at least 2"):
        components.principal_components(images, 0)
    with pytest.raises(InputError, match="all equal"):
        components.principal_components(np.repeat(images[:1], 3, 0), 2)
    with pytest.raises(InputError, match="images: shape"):
        components.principal_components(images, 2).scores(images[:, 1:])
    with pytest.raises(InputError, match="found 0"):
        components.mean_image(images[:0])
