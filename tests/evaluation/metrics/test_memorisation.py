"""Copies of training images are found, new ones are not."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from brain_diffusion_jax.evaluation.metrics import memorisation


def textured(count, seed):
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=(count, 40, 36)), (0, 2, 2))
    return np.clip(0.5 + 2 * noise, 0, 1).astype(np.float32)[..., None]


def test_copies_are_found_even_when_shifted_and_brightened():
    training, held_out, generated = textured(30, 1), textured(20, 2), textured(20, 3)
    generated[4] = np.roll(training[11], (1, -1), axis=(0, 1))
    generated[9] = np.clip(training[7] * 1.3, 0, 1)
    search = memorisation.TrainingSearch(training)
    near, far = search(generated), search(held_out)
    limits = memorisation.limits_of(far)
    assert memorisation.copies(near, limits) == [[4, 11], [9, 7]]
    people = [f"p{i // 2}" for i in range(20)]
    found = memorisation.compare_to_held_out(near, far, people, replicates=50)
    assert (found["copies"]["value"], found["copies"]["of"]) == (2, 20)
    assert found["copy_share"]["low"] == pytest.approx(0.0279, abs=1e-3)  # Wilson, 2 of 20
    assert found["copy_share"]["high"] == pytest.approx(0.3010, abs=1e-3)
    clean = memorisation.compare_to_held_out(search(textured(20, 4)), far, people, replicates=50)
    assert clean["copies"]["value"] == 0
    assert 0.25 < clean["auc"]["value"] < 0.75
    assert clean["auc"]["low"] < 0.5 < clean["auc"]["high"]
    assert found["held_out_ratio"]["low"] < found["held_out_ratio"]["value"] <= 1


def test_nearest_neighbours_equal_a_plain_search():
    rng = np.random.default_rng(5)
    x, y = rng.normal(size=(17, 6)), rng.normal(size=(23, 6))
    plain = np.sqrt(((x[:, None] - y[None]) ** 2).mean(-1))
    found = memorisation.nearest_features(x, y)
    np.testing.assert_array_equal(found.row, plain.argmin(1))
    np.testing.assert_allclose(found.distance, plain.min(1), atol=1e-9)
    np.testing.assert_allclose(found.second, np.sort(plain, 1)[:, 1], atol=1e-9)


@pytest.mark.parametrize("shape", [(12, 11, 3), (9, 8, 10, 1)], ids=["three channels", "volumes"])
def test_a_shift_of_colours_and_volumes_is_undone(shape):
    rng = np.random.default_rng(6)
    images = rng.random((4, *shape)).astype(np.float32)
    axes = tuple(range(len(shape) - 1))
    moved = np.roll(images[2], (1, -2, 2)[: len(axes)], axis=axes)
    distances = memorisation.shifted_distance(moved, images)
    assert distances[2] == pytest.approx(0, abs=1e-7)
    assert (distances[[0, 1, 3]] > 0.3).all()
    still = memorisation.shifted_distance(moved, images, reach=0)
    np.testing.assert_allclose(still, np.sqrt(((images - moved) ** 2).reshape(4, -1).mean(1)), rtol=1e-6)
