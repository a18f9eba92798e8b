"""SSIM of all pairs against a direct torch implementation, scikit-image and properties."""

from __future__ import annotations

import numpy as np
import pytest

from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation.metrics import ssim


def torch_ssim(x, y, parts=False):
    """Filter both pictures, as pytorch-msssim does (separable Gaussian, valid windows); [n]."""
    import torch
    from torch.nn.functional import conv2d

    line = torch.exp(-((torch.arange(11, dtype=torch.float64) - 5) ** 2) / (2 * 1.5**2))
    line /= line.sum()

    def blur(z):
        return conv2d(conv2d(z, line.view(1, 1, 11, 1)), line.view(1, 1, 1, 11))

    x, y = (torch.as_tensor(z, dtype=torch.float64)[:, None] for z in (x, y))
    mx, my = blur(x), blur(y)
    vx, vy, cxy = blur(x * x) - mx**2, blur(y * y) - my**2, blur(x * y) - mx * my
    cs = (2 * cxy + 0.03**2) / (vx + vy + 0.03**2)
    full = cs * (2 * mx * my + 0.01**2) / (mx**2 + my**2 + 0.01**2)
    means = [z.mean((1, 2, 3)).numpy() for z in (full, cs)]
    return means if parts else means[0]


def pictures(n, rows=24, cols=29, seed=0):
    """Smooth blobs of different contrast on an exactly black margin."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:rows, :cols]
    out = np.zeros((n, rows, cols), np.float32)
    for i in range(n):
        a, b = rng.uniform(0.3, 0.7, 2)
        out[i] = np.exp(-(((y / rows - a) ** 2 + (x / cols - b) ** 2) / 0.05)) * rng.uniform(0.4, 1)
    out += rng.uniform(0, 0.05, out.shape).astype(np.float32)
    out[:, :4] = out[:, :, -3:] = 0
    return np.clip(out, 0, 1)


@pytest.fixture(scope="module")
def twelve():
    return pictures(12)


@pytest.mark.parity
def test_every_pair_equals_the_pairwise_loop(twelve):
    matrix, contrast = ssim.pairwise(twelve, contrast=True)
    rows, cols = np.triu_indices(12)
    expected, expected_cs = torch_ssim(twelve[rows], twelve[cols], parts=True)
    np.testing.assert_allclose(matrix[rows, cols], expected, atol=2e-6)
    np.testing.assert_allclose(contrast[rows, cols], expected_cs, atol=2e-6)
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-7)
    off = rows != cols
    assert ssim.mean_of_pairs(matrix) == pytest.approx(expected[off].mean(), abs=1e-6)


def test_blocks_strips_and_threads_do_not_change_a_pair(twelve):
    """More pictures than stand side by side, in pictures that are not a whole number of strips wide."""
    many = np.concatenate([pictures(60, seed=1), twelve])  # 72: two blocks, the second not full
    seen = []
    matrix, contrast = ssim.pairwise(many, contrast=True, threads=3, progress=lambda *p: seen.append(p))
    alone, alone_contrast = ssim.pairwise(twelve, contrast=True, threads=1)
    np.testing.assert_allclose(matrix[60:, 60:], alone, atol=1e-6)
    np.testing.assert_allclose(contrast[60:, 60:], alone_contrast, atol=1e-6)
    np.testing.assert_array_equal(matrix, matrix.T)
    paired = ssim.paired_ssim(many[:12], many[60:])
    np.testing.assert_allclose(matrix[np.arange(12), 60 + np.arange(12)], paired, atol=1e-5)
    assert seen == [(k + 1, len(seen)) for k in range(len(seen))]


def test_empty_columns_between_two_busy_ones_are_skipped():
    images = np.zeros((2, 14, 60), np.float32)
    images[:, 3, 5] = 1
    images[:, 7, 48] = 1
    strips = ssim.busy_strips(images, 8)
    assert [(r.start, r.stop, c.start, c.stop) for r, c in strips] == [(0, 4, 0, 6), (0, 4, 38, 46), (0, 4, 46, 49)]
    assert ssim.busy_strips(np.zeros((2, 14, 60)), 8) == []


@pytest.mark.parity
@pytest.mark.realdata
def test_real_pictures_equal_the_pairwise_loop(real_data):
    """A picture of a head has bright flat parts, where float32 moments cancel most."""
    with np.load(real_data("oasis1_mni2mm") / "axial_slices_u8.npz") as file:
        stored = file["images"][:6, 2]
    matrix, _ = ssim.pairwise(stored)
    rows, cols = np.triu_indices(6, 1)
    unit = stored.astype(np.float64) / 255
    np.testing.assert_allclose(matrix[rows, cols], torch_ssim(unit[rows], unit[cols]), atol=1e-5)


def test_paired_scores_equal_scikit_image(twelve):
    from skimage.metrics import structural_similarity

    found = ssim.paired_ssim(twelve[:4], twelve[4:8])
    for i in range(4):
        a, b = twelve[i].astype(float), twelve[4 + i].astype(float)
        _, full = structural_similarity(
            a, b, data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True
        )
        assert found[i] == pytest.approx(full[5:-5, 5:-5].mean(), abs=2e-6)


@pytest.mark.parity
def test_two_scale_ms_ssim_follows_the_definition(twelve):
    import torch

    single, matrix, scales = ssim.ms_pairwise(twelve[:4])
    np.testing.assert_allclose(single, ssim.pairwise(twelve[:4])[0], atol=1e-6)
    assert scales == 2
    rows, cols = np.triu_indices(4, 1)
    halves = torch.nn.functional.avg_pool2d(  # pytorch-msssim pads odd sides on both ends
        torch.as_tensor(twelve[:4])[:, None], 2, padding=(0, 1)
    )[:, 0].numpy()
    _, contrast = torch_ssim(twelve[rows], twelve[cols], parts=True)
    full = torch_ssim(halves[rows], halves[cols])
    weights = np.array(ssim.MS_WEIGHTS[:2]) / sum(ssim.MS_WEIGHTS[:2])
    np.testing.assert_allclose(
        matrix[rows, cols], np.maximum(contrast, 0) ** weights[0] * np.maximum(full, 0) ** weights[1], atol=1e-5
    )


def test_equal_pictures_score_one_and_black_ones_too():
    same = np.repeat(pictures(1), 3, 0)
    assert ssim.mean_of_pairs(ssim.pairwise(same)[0]) == pytest.approx(1, abs=1e-6)
    assert ssim.mean_of_pairs(ssim.pairwise(np.zeros((3, 12, 12), np.uint8))[0]) == 1
    assert ssim.num_scales((96, 128)) == 4
    assert ssim.num_scales((176, 256)) == 5


def test_resampled_mean_never_pairs_a_picture_with_itself(twelve):
    matrix, _ = ssim.pairwise(twelve[:3])
    rows = np.array([0, 0, 1])
    assert ssim.mean_of_pairs(matrix, rows) == pytest.approx(matrix[0, 1], abs=1e-7)


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (np.zeros((0, 20, 20)), "at least one image"),
        (np.full((2, 20, 20), np.nan), "NaN or Inf in 2 of 2"),
        (np.full((2, 20, 20), 37.0), "range: found 37"),
        (np.zeros((2, 8, 20)), "at least 11 along every axis"),
        (np.zeros((1, 20, 20)), "found 1; expected at least 2"),
    ],
)
def test_bad_pictures_are_refused(images, words):
    with pytest.raises(InputError, match=words):
        ssim.mean_of_pairs(ssim.pairwise(images)[0])


def test_paired_sets_must_match(twelve):
    with pytest.raises(InputError, match="second set: images: found 3; expected 2"):
        ssim.paired_ssim(twelve[:2], twelve[:3])
    with pytest.raises(InputError, match="second set: shape"):
        ssim.paired_ssim(twelve[:2], twelve[:2, :-1])


@pytest.mark.parametrize("shape", [(14, 13, 3), (13, 12, 14, 1)], ids=["three channels", "volumes"])
def test_colours_and_volumes_equal_scikit_image(shape):
    from skimage.metrics import structural_similarity

    images = np.random.default_rng(0).random((18, *shape)).astype(np.float32)
    images[1] = 0.7 * images[0] + 0.3 * images[1]
    paired = ssim.paired_ssim(images[:1].repeat(3, 0), images[[1, 2, 17]])
    inner = tuple(slice(5, -5) for _ in shape[:-1])
    for value, other in zip(paired, (1, 2, 17), strict=True):
        a, b = images[0].astype(float), images[other].astype(float)
        options = {"data_range": 1, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
        maps = [structural_similarity(a[..., c], b[..., c], full=True, **options)[1][inner] for c in range(shape[-1])]
        assert value == pytest.approx(np.mean(maps), abs=2e-6)
    if len(shape) == 4:  # all pairs of volumes are too many: `pairs` draws some
        with pytest.raises(InputError, match=r"all pairs: images: .* slices"):
            ssim.pairwise(images)
        return
    matrix, contrast = ssim.pairwise(images, contrast=True)
    assert contrast.shape == matrix.shape == (18, 18)
    np.testing.assert_allclose(matrix[0, [1, 2, 17]], paired, atol=2e-6)
    single, multi, scales = ssim.ms_pairwise(images)
    assert scales == 1
    of_channels = [np.maximum(ssim.pairwise(images[..., c : c + 1])[0], 0) for c in range(shape[-1])]
    np.testing.assert_allclose(multi, np.mean(of_channels, 0), atol=1e-6)
    np.testing.assert_allclose(single, matrix, atol=1e-6)


def test_halves_of_a_volume_are_block_means():
    volume = np.random.default_rng(1).random((2, 4, 6, 5)).astype(np.float32)
    half = ssim.halved(volume)
    assert half.shape == (2, 2, 3, 3)
    np.testing.assert_allclose(half[0, 1, 2, 2], volume[0, 2:4, 4:6, 3:5].mean(), rtol=1e-6)
    np.testing.assert_allclose(half[0, 0, 0, 0], volume[0, :2, :2, 0].sum() / 8, rtol=1e-6)  # a leading plane of zeros
