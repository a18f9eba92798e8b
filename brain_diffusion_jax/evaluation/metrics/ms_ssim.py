"""SSIM and MS-SSIM of image pairs, slices and volumes, with windows of 7 pixels (Wang et al. 2003, 2004).

The window is a Gaussian of sigma 1.5, wholly inside the image; K1 0.01, K2 0.03, biased moments, data range 1. A scale
is halved by means of 2 x 2 (x 2) blocks; an incomplete last block is dropped. These are the numbers of
`monai.metrics.MultiScaleSSIMMetric(kernel_size=7)` for as many weights; factors are averaged over channels.
`ssim.ms_pairwise` scores all pairs of a set of slices with windows of 11 pixels, as published for slices.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from brain_diffusion_jax.evaluation.metrics.local_moments import WINDOW, window_means
from brain_diffusion_jax.evaluation.metrics.ssim_window import C1, C2, MS_WEIGHTS
from brain_diffusion_jax.models.layers import average_halves

SSIM_NAME = f"SSIM{WINDOW}"


def num_scales(spatial: Sequence[int]) -> int:
    """How many scales fit: the window lies inside the halved image at each; at most five, at least one."""
    return max(1, min(len(MS_WEIGHTS), int(np.log2(max(min(spatial) / WINDOW, 1))) + 1))


def ms_ssim_name(spatial: Sequence[int]) -> str:
    """Such as "MS-SSIM7[4]": scores of different numbers of scales are not comparable, so the number is in the name."""
    return f"MS-SSIM{WINDOW}[{num_scales(spatial)}]"


def ssim_factors(
    x: Float[Array, "b *spatial c"], y: Float[Array, "b *spatial c"], width: int = WINDOW
) -> tuple[Float[Array, " b"], Float[Array, " b"]]:
    """Mean SSIM, and its mean contrast-structure factor, of each pair of unit images; width: of the windows."""
    mean_x, mean_y = window_means(x, width), window_means(y, width)
    variance_x, variance_y = window_means(x * x, width) - mean_x**2, window_means(y * y, width) - mean_y**2
    contrast = (2 * (window_means(x * y, width) - mean_x * mean_y) + C2) / (variance_x + variance_y + C2)
    luminance = (2 * mean_x * mean_y + C1) / (mean_x**2 + mean_y**2 + C1)
    axes = tuple(range(1, x.ndim))
    return (luminance * contrast).mean(axes), contrast.mean(axes)


def ssim_and_ms_ssim(
    x: Float[Array, "b *spatial c"], y: Float[Array, "b *spatial c"]
) -> tuple[Float[Array, " b"], Float[Array, " b"]]:
    """SSIM and MS-SSIM of each pair of unit images, for `paired_images.of_pairs`.

    MS-SSIM = prod over scales of relu(contrast factor)^weight, with the whole SSIM at the last; the weights of the
    scales that fit are renormalised to sum 1.
    """
    scales = num_scales(x.shape[1:-1])
    weights = np.array(MS_WEIGHTS[:scales]) / sum(MS_WEIGHTS[:scales])
    product = jnp.ones(len(x))
    single = product
    for scale, weight in enumerate(weights):
        full, contrast = ssim_factors(x, y)
        single = full if scale == 0 else single
        factor = full if scale == scales - 1 else contrast
        product = product * jnp.maximum(factor, 0) ** weight
        x, y = average_halves(x), average_halves(y)
    return single, product
