"""Extractors stream, and nonsense is refused."""

from __future__ import annotations

import numpy as np
import pytest

from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation.probes import features


def test_extract_streams_and_refuses_nonsense():
    sizes = []

    def brightness(images):
        sizes.append(len(images))
        assert images.max() <= 1
        return images.mean((1, 2))

    extractor = features.Extractor("brightness", "1", brightness)
    found = features.extract(extractor, np.full((7, 4, 4), 255, np.uint8), batch_size=3)
    assert sizes == [3, 3, 1]
    np.testing.assert_allclose(found.values, 1)
    with pytest.raises(InputError, match="an empty set"):
        features.extract(extractor, np.zeros((0, 4, 4), np.uint8))
    with pytest.raises(InputError, match="shape"):
        features.extract(features.Extractor("flat", "1", lambda x: x.mean((1, 2, 3))), np.zeros((2, 4, 4)))
