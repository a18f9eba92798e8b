"""Shapes tell classes, and stacking weighs sources."""

from __future__ import annotations

import numpy as np
from spots import CLASSES, blur, make

from brain_diffusion_jax.evaluation.probes import shapes


def test_shapes_tell_classes_and_stacking_weighs_sources_by_what_they_know():
    train, held = blur(make(200, 0)), blur(make(100, 1))  # without the grain, whose gradients hide the class
    seen = shapes.Shapes(train.images, train.labels, CLASSES + 1)(held.images)
    assert seen.shape == (100, CLASSES + 1, 2)
    for source in (0, 1):
        assert (seen[:, :CLASSES, source].argmax(1) == held.labels).mean() > 0.55  # a third by chance
    assert np.isfinite(seen).all()  # also for the class nobody showed
    nonsense = np.random.default_rng(0).standard_normal((100, CLASSES + 1, 1))
    weights = shapes.stack(np.concatenate([seen, nonsense], 2), held.labels)
    assert weights.min() >= 0
    assert weights[:2].max() > 10 * weights[2]
