"""4-G-R-SSIM against a float64 loop that follows the formula word by word, and properties."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import correlate
from similar_images import blobs, windows7

from brain_diffusion_jax.evaluation.metrics import gradient_ssim
from brain_diffusion_jax.evaluation.metrics.paired_images import of_pairs

C1, C2 = 0.01**2, 0.03**2
ACROSS = {1: np.array([0.125, 0.25, 0.125]), 2: np.array([[0.05, 0.05, 0.05], [0.05, 0.1, 0.05], [0.05, 0.05, 0.05]])}


def gradient(u):
    """Sum over axes of |K * u|, K = [-1, 0, 1] along the axis and ACROSS over the others; without the outer pixels."""
    total = 0
    for axis in range(u.ndim):
        line = np.array([-1.0, 0, 1]).reshape([3 if a == axis else 1 for a in range(u.ndim)])
        total = total + np.abs(correlate(u, line * np.expand_dims(ACROSS[u.ndim - 1], axis)))
    return total[(slice(1, -1),) * u.ndim]


def one_order(a, b):
    """The score of one channel, with the thresholds of a."""
    ga, gb = gradient(a), gradient(b)
    inside = (slice(1, -1),) * a.ndim
    w = windows7.weights(a.ndim)
    ma, mb = ((windows7(u[inside]) * w).sum(-1) for u in (a, b))
    xa, xb = windows7(ga), windows7(gb)
    ka, kb = (xa * w).sum(-1), (xb * w).sum(-1)
    covariance = (w * (xa - ka[..., None]) * (xb - kb[..., None])).sum(-1)

    def sigma(x, mean):
        variance = (w * (x - mean[..., None]) ** 2).sum(-1)
        return np.sqrt(variance + 1e-5 * ((w * x**2).sum(-1) + mean**2) / 2)

    sa, sb = sigma(xa, ka), sigma(xb, kb)
    score = (2 * ma * mb + C1) / (ma**2 + mb**2 + C1) * (2 * sa * sb + C2) / (sa**2 + sb**2 + C2)
    s = (covariance + C2 / 2) / (sa * sb + C2 / 2)
    s[(sa == 0) != (sb == 0)] = 0
    s[(sa == 0) & (sb == 0)] = 1
    score = score * s
    t1, t2 = 0.12 * ga.max(), 0.06 * ga.max()
    means = {}
    for place in np.ndindex(score.shape):
        pa, pb = ga[tuple(i + 3 for i in place)], gb[tuple(i + 3 for i in place)]
        if pa > t1 and pb > t1:
            kind = "kept"
        elif pa > t1 or pb > t1:
            kind = "changed"
        else:
            kind = "smooth" if pa < t2 else "texture"
        means.setdefault(kind, []).append(score[place])
    return max(np.mean([np.mean(values) for values in means.values()]), 0), set(means)


def expected(a, b):
    a, b = a.astype(np.float64), b.astype(np.float64)
    return np.mean(
        [(one_order(a[..., c], b[..., c])[0] + one_order(b[..., c], a[..., c])[0]) / 2 for c in range(a.shape[-1])]
    )


@pytest.mark.parametrize("shape", [(3, 24, 31, 1), (2, 19, 22, 3), (2, 15, 13, 17, 1), (1, 12, 11, 13, 3)])
def test_pairs_equal_the_formula(shape):
    first, second = blobs(shape, 0), blobs(shape, 1)
    (found,) = of_pairs(gradient_ssim.gradient_ssim, first, second)
    np.testing.assert_allclose(found, [expected(a, b) for a, b in zip(first, second, strict=True)], atol=1e-5)


def test_all_four_kinds_of_region_are_met():
    first, second = (blobs((1, 24, 31, 1), seed)[0, ..., 0].astype(np.float64) for seed in (0, 1))
    assert one_order(first, second)[1] == {"kept", "changed", "smooth", "texture"}


@pytest.mark.parametrize("shape", [(2, 20, 17, 1), (2, 12, 13, 11, 3)])
def test_an_image_is_like_itself_and_order_does_not_matter(shape):
    first, second = blobs(shape, 2), blobs(shape, 3)
    np.testing.assert_allclose(of_pairs(gradient_ssim.gradient_ssim, first, first), 1, atol=1e-4)
    there, back = (of_pairs(gradient_ssim.gradient_ssim, *sides) for sides in ((first, second), (second, first)))
    np.testing.assert_allclose(there, back, atol=1e-6)
    assert ((there[0] >= 0) & (there[0] < 0.9)).all()


def test_empty_images_are_alike_and_unlike_anything_else():
    """R: no structure on both sides is 1, on one side 0; kinds of region that are absent count nothing."""
    black = np.zeros((1, 15, 16, 1), np.float32)
    assert of_pairs(gradient_ssim.gradient_ssim, black, black)[0] == 1
    full = blobs((1, 15, 16, 1), 4)
    (found,) = of_pairs(gradient_ssim.gradient_ssim, black, full)
    assert found[0] == 0 == expected(black[0], full[0])


def test_a_slope_of_one_has_a_gradient_of_one():
    for dims in (2, 3):
        ramp = np.arange(8.0).reshape(1, 8, *[1] * (dims - 1), 1) * np.ones((1, *[8] * dims, 1))
        np.testing.assert_allclose(gradient_ssim.gradient_magnitude(ramp.astype(np.float32)), 1, atol=1e-5)
