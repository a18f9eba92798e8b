"""SSIM7 and MS-SSIM7 against a float64 loop over windows, MONAI, and properties."""

from __future__ import annotations

import numpy as np
import pytest
from similar_images import blobs, windows7

from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation.metrics import ms_ssim
from brain_diffusion_jax.evaluation.metrics.paired_images import of_pairs

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


def by_windows(a, b):
    """(SSIM, contrast factor) of one channel, each window on its own."""
    x, y, w = windows7(a), windows7(b), windows7.weights(a.ndim)
    mx, my = (x * w).sum(-1), (y * w).sum(-1)
    vx, vy = (w * (x - mx[..., None]) ** 2).sum(-1), (w * (y - my[..., None]) ** 2).sum(-1)
    c = (w * (x - mx[..., None]) * (y - my[..., None])).sum(-1)
    cs = (2 * c + 0.03**2) / (vx + vy + 0.03**2)
    return (cs * (2 * mx * my + 0.01**2) / (mx**2 + my**2 + 0.01**2)).mean(), cs.mean()


def half(a):
    """Means of 2 x 2 (x 2) blocks; an odd last row is dropped."""
    for axis in range(a.ndim):
        n = a.shape[axis] // 2 * 2
        a = (np.take(a, range(0, n, 2), axis) + np.take(a, range(1, n, 2), axis)) / 2
    return a


def expected(a, b, scales):
    """Mean over channels of SSIM; MS-SSIM of channel-averaged factors."""
    weights = np.array(WEIGHTS[:scales]) / sum(WEIGHTS[:scales])
    single, product = None, 1.0
    sides = [(a[..., c], b[..., c]) for c in range(a.shape[-1])]
    for scale in range(scales):
        full, contrast = np.mean([by_windows(*side) for side in sides], axis=0)
        single = full if scale == 0 else single
        product *= max(full if scale == scales - 1 else contrast, 0) ** weights[scale]
        sides = [(half(x), half(y)) for x, y in sides]
    return single, product


@pytest.mark.parametrize(
    ("shape", "scales"), [((3, 29, 33, 1), 3), ((3, 15, 40, 3), 2), ((2, 17, 14, 19, 1), 2), ((2, 9, 8, 7, 3), 1)]
)
def test_pairs_equal_the_loop_over_windows(shape, scales):
    first, second = blobs(shape, 0), blobs(shape, 1)
    assert ms_ssim.num_scales(shape[1:-1]) == scales
    single, multi = of_pairs(ms_ssim.ssim_and_ms_ssim, first, second)
    wanted = np.array([expected(a, b, scales) for a, b in zip(first.astype(np.float64), second, strict=True)])
    np.testing.assert_allclose(single, wanted[:, 0], atol=2e-6)
    np.testing.assert_allclose(multi, wanted[:, 1], atol=5e-6)


@pytest.mark.parity
@pytest.mark.parametrize("shape", [(3, 64, 67, 1), (2, 40, 34, 28, 1), (2, 30, 33, 3)])
def test_pairs_equal_monai(shape):
    import torch
    from monai.metrics import MultiScaleSSIMMetric

    first, second = blobs(shape, 2), blobs(shape, 3)
    scales = ms_ssim.num_scales(shape[1:-1])
    weights = np.array(WEIGHTS[:scales]) / sum(WEIGHTS[:scales])
    metric = MultiScaleSSIMMetric(len(shape) - 2, kernel_size=7, weights=weights.tolist())
    wanted = metric(*(torch.as_tensor(np.moveaxis(x, -1, 1)) for x in (first, second)))
    _, found = of_pairs(ms_ssim.ssim_and_ms_ssim, first, second)
    np.testing.assert_allclose(found, wanted[:, 0].numpy(), atol=1e-5)


def test_scales_are_those_that_fit_and_stand_in_the_name():
    assert [ms_ssim.num_scales((n, 90, 300)) for n in (7, 13, 14, 27, 28, 56, 90)] == [1, 1, 2, 2, 3, 4, 4]
    assert ms_ssim.num_scales((112, 112)) == ms_ssim.num_scales((300, 300)) == 5
    assert ms_ssim.ms_ssim_name((80, 96, 80)) == "MS-SSIM7[4]"


@pytest.mark.parametrize("shape", [(2, 20, 23, 1), (2, 16, 15, 17, 3)])
def test_an_image_is_like_itself_and_order_does_not_matter(shape):
    first, second = blobs(shape, 0), blobs(shape, 4)
    for scores in of_pairs(ms_ssim.ssim_and_ms_ssim, first, first):
        np.testing.assert_allclose(scores, 1, atol=1e-6)
    there, back = (of_pairs(ms_ssim.ssim_and_ms_ssim, *sides) for sides in ((first, second), (second, first)))
    np.testing.assert_allclose(there, back, atol=1e-6)
    noisier = np.clip(first + np.random.default_rng(0).normal(size=shape) * 0.1, 0, 1).astype(np.float32)
    faint = np.clip(first + np.random.default_rng(0).normal(size=shape) * 0.02, 0, 1).astype(np.float32)
    much, little = (of_pairs(ms_ssim.ssim_and_ms_ssim, first, other)[1] for other in (noisier, faint))
    assert (much < little).all()
    assert (little < 1).all()


def test_stored_images_score_as_their_unit_images():
    stored = np.round(blobs((2, 18, 17, 1), 5) * 255).astype(np.uint8)
    unit = stored.astype(np.float32) / 255
    np.testing.assert_array_equal(
        of_pairs(ms_ssim.ssim_and_ms_ssim, stored, stored[::-1]), of_pairs(ms_ssim.ssim_and_ms_ssim, unit, unit[::-1])
    )


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        (np.zeros((2, 6, 20, 1)), np.zeros((2, 6, 20, 1)), "at least 7 pixels"),
        (np.zeros((2, 20, 20)), np.zeros((2, 20, 20)), r"\[n, rows, cols, c\]"),
        (np.zeros((2, 20, 20, 1)), np.zeros((2, 20, 21, 1)), "second set: shape"),
        (np.zeros((2, 20, 20, 1)), np.zeros((3, 20, 20, 1)), "second set: images: found 3; expected 2"),
        (np.full((2, 20, 20, 1), np.nan), np.zeros((2, 20, 20, 1)), "NaN or Inf"),
        (np.full((2, 20, 20, 1), 40.0), np.zeros((2, 20, 20, 1)), "range: found 40"),
    ],
)
def test_bad_images_are_refused(first, second, words):
    with pytest.raises(InputError, match=words):
        of_pairs(ms_ssim.ssim_and_ms_ssim, first, second)
