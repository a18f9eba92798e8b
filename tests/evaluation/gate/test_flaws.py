"""Detectors of flaws that are learned by doing them to real images."""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from spots import make

from brain_diffusion_jax.evaluation.gate import flaws
from brain_diffusion_jax.evaluation.metrics import texture


def test_detectors_tell_slight_flaws_in_pictures_of_differing_sharpness():
    rng = np.random.default_rng(0)

    def real(count):
        images = make(count, int(rng.integers(1000))).images.astype(float)
        soft = np.stack(
            [ndimage.gaussian_filter(x, (s, s, 0)) for x, s in zip(images, rng.uniform(0, 0.5, count), strict=True)]
        )
        return np.clip(soft + rng.uniform(0, 0.01, (count, 1, 1, 1)) * rng.standard_normal(soft.shape), 0, 1)

    known, held, fresh = real(300), real(200), real(200)
    found = flaws.Detectors(known, texture.texture(known))
    limits = {name: np.quantile(scores, 0.98) for name, scores in found(texture.texture(held)).items()}
    assert set(limits) == set(flaws.FLAWS) == {"blur", "noise"}
    for name, strength in (("blur", 0.8), ("noise", 0.03)):
        flawed = flaws.FLAWS[name].apply(fresh, np.full(200, strength), rng)
        scores = found(texture.texture(flawed))
        assert (scores[name] > limits[name]).mean() > 0.95
        other = {"blur": "noise", "noise": "blur"}[name]
        assert (scores[other] > limits[other]).mean() < 0.05
    odd = found.oddness(texture.texture(np.where(rng.random(fresh.shape) < 0.02, 1.0, fresh)))  # a flaw nobody taught
    assert np.median(odd) > np.quantile(found.oddness(texture.texture(held)), 0.98)
