"""Precision, recall, density and coverage of known sets."""

from __future__ import annotations

import numpy as np
import pytest

from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation.metrics.precision_recall import scores_of_distances, squared_distances


def manifold_scores(real, generated):
    within = (squared_distances(side, side) for side in (real, generated))
    return scores_of_distances(*within, squared_distances(real, generated))


def test_manifold_scores_see_what_they_are_meant_to_see():
    rng = np.random.default_rng(1)
    real = np.concatenate([rng.normal(size=(60, 3)), rng.normal(size=(60, 3)) + 20])
    one_mode = rng.normal(size=(120, 3))
    far = rng.normal(size=(120, 3)) + 100
    both = np.concatenate([rng.normal(size=(60, 3)), rng.normal(size=(60, 3)) + 20])
    good, half, bad = (manifold_scores(real, g) for g in (both, one_mode, far))
    assert min(good.precision, good.recall, good.coverage) > 0.85
    assert half.precision > 0.85
    assert half.recall == pytest.approx(0.5, abs=0.1)
    assert half.coverage <= 0.5
    assert bad == (0, 0, 0, 0)
    same = manifold_scores(real, real)
    assert (same.precision, same.recall, same.coverage) == (1, 1, 1)
    with pytest.raises(InputError, match="more than k = 5"):
        manifold_scores(real[:5], real)
