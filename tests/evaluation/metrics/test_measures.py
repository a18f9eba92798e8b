"""Numbers of sets: only features of one extractor are compared."""

from __future__ import annotations

import numpy as np
import pytest

from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation.metrics import measures
from brain_diffusion_jax.evaluation.probes import features


def test_features_of_different_extractors_are_never_compared():
    a = features.Features("inception-768", "1", np.zeros((6, 2), np.float32))
    b = features.Features("small_cnn-pool", "1", np.zeros((6, 2), np.float32))
    with pytest.raises(InputError, match=r"found small_cnn-pool \(1\); expected inception-768"):
        measures.distances(b, a, list("abcdef"), list("abcdef"), 0, 0)
