"""A classifier and a gate that have learned from made-up images."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from spots import CLASSES, RATE, make

from brain_diffusion_jax.evaluation.gate.gate import Gate
from brain_diffusion_jax.evaluation.probes.pixel_probe import block_means, ridge_probe


@pytest.fixture(scope="session")
def known():
    """A classifier learned from the training images alone, and these."""
    train = make(300, 0)
    probe = ridge_probe(block_means(train.images), np.eye(CLASSES)[train.labels])

    def probabilities(images):
        logits = 14.0 * probe(block_means(images))
        p = np.exp(logits - logits.max(1, keepdims=True))
        return p / p.sum(1, keepdims=True)

    return SimpleNamespace(features=block_means, probabilities=probabilities, words=("a", "b", "c")), train


@pytest.fixture(scope="session")
def learned(known):
    return Gate(*known, make(400, 1), false_alarm_rate=RATE, batch_size=100, draws=40)
