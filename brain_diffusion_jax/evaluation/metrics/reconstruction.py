"""How well images are rebuilt, image by image: PSNR (also inside the brain), SSIM, MS-SSIM, fine structure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation.image_set import check_images
from brain_diffusion_jax.evaluation.metrics import ms_ssim
from brain_diffusion_jax.evaluation.metrics.bootstrap import intervals
from brain_diffusion_jax.evaluation.metrics.detail import Detail, detail_ratios
from brain_diffusion_jax.evaluation.metrics.measures import Numbers, keyed
from brain_diffusion_jax.evaluation.metrics.metric_id import MetricId
from brain_diffusion_jax.evaluation.metrics.paired_images import Images, check_sets, of_pairs

PSNR, PSNR_INSIDE = "PSNR", "PSNR in brain"


def nonzero_mask(image: Float[np.ndarray, "*spatial c"]) -> Bool[np.ndarray, "*spatial"]:
    """Where any channel is not 0: the brain, of skull-stripped images."""
    return np.any(image > 0, axis=-1)


def paired_psnr(original: Images, rebuilt: Images) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """PSNR in dB of all pixels, and of those where the original is not 0: -10 log10(mean squared error), peak 1.

    Inf for equal images; NaN inside where all of the original is 0. One image of each set is in memory at a time.
    """
    check_sets(original, rebuilt)
    if len(original) != len(rebuilt):
        raise InputError("second set", "images", len(rebuilt), len(original))
    whole, inside = np.zeros(len(original)), np.zeros(len(original))
    for index, (a, b) in enumerate(zip(original, rebuilt, strict=True)):
        unit = check_images(a[None], "first set")[0]
        error = np.square(unit - check_images(b[None], "second set")[0], dtype=np.float64).mean(-1)
        mask = nonzero_mask(unit)
        with np.errstate(divide="ignore"):
            whole[index] = -10 * np.log10(error.mean())
            inside[index] = -10 * np.log10(error[mask].mean()) if mask.any() else np.nan
    return whole, inside


def reconstruction_numbers(
    original: Images, rebuilt: Images, people: Sequence[str], *, replicates: int = 200, seed: int = 0
) -> Numbers:
    """Means over images of PSNR, SSIM7, MS-SSIM7, and ratios of fine structure, with intervals over people.

    Image i of both sets, stored or unit [n, *spatial, c], belongs to people[i].
    """
    names = PSNR, PSNR_INSIDE, ms_ssim.SSIM_NAME, ms_ssim.ms_ssim_name(original.shape[1:-1])
    columns = [*paired_psnr(original, rebuilt), *of_pairs(ms_ssim.ssim_and_ms_ssim, original, rebuilt)]
    values = np.stack([np.asarray(column, np.float64) for column in columns], 1)
    found = intervals(lambda rows: list(np.nanmean(values[rows], 0)), people, replicates=replicates, seed=seed)
    numbers = keyed((MetricId(statistic=name) for name in names), found)
    mine, real = Detail.of(rebuilt, people), Detail.of(original, people)
    return numbers | detail_ratios(mine, real, matched=True, replicates=replicates, seed=seed)
