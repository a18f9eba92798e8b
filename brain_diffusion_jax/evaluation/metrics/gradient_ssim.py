"""4-G-R-SSIM: structural similarity of gradients, in four kinds of region (Li & Bovik 2010; Renieblas et al. 2017).

With G(u) the gradient magnitude of an image; means, deviations, covariance of Gaussian windows (7 pixels, sigma 1.5):

  l = (2 mu_a mu_b + C1) / (mu_a^2 + mu_b^2 + C1)         of the images themselves
  c = (2 sigma_a sigma_b + C2) / (sigma_a^2 + sigma_b^2 + C2)       of G, as is
  s = (cov_ab + C3) / (sigma_a sigma_b + C3),  C3 = C2 / 2

R: s is 1 where both deviations are 0, and 0 where exactly one is (Rouse & Hemami 2008). The score is the mean over
four kinds of region (kept edges, changed edges, smooth places, texture) of the mean of l c s there; kinds that are
absent leave their weight to the others. What is exactly 0 matters: score stored (8-bit) images, as the background
of a computed one is seldom 0.
"""

from __future__ import annotations

import itertools

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from brain_diffusion_jax.evaluation.metrics.local_moments import WINDOW, centre, window_means
from brain_diffusion_jax.evaluation.metrics.ssim_window import C1, C2

NAME = "4-G-R-SSIM"
EDGE, SMOOTH = 0.12, 0.06  # fractions of the greatest gradient of the first image
SMALLEST = WINDOW + 2  # pixels along an axis that leave one window of gradients
_REGULAR = 1e-5  # keeps a variance that is a difference of equal numbers from 0

Map = Float[Array, "b *spatial 1"]


def gradient_magnitude(u: Map) -> Map:
    """G(u): the sum over axes of |central difference|, smoothed across; each axis loses a pixel at both ends.

    Across the axis the 3 (x 3) weights are equal but for the centre's, which is double; they sum to 1/2, so that a
    slope of 1 gives 1.
    """
    axes = range(1, u.ndim - 1)
    weight = 0.5 / (3 ** (len(axes) - 1) + 1)

    def part(offsets: dict[int, int]) -> Map:
        cut = [slice(1 + offsets.get(axis, 0), u.shape[axis] - 1 + offsets.get(axis, 0)) for axis in axes]
        return u[(slice(None), *cut)]

    total = jnp.zeros(())
    for axis in axes:
        others = [a for a in axes if a != axis]
        slope = jnp.zeros(())
        for steps in itertools.product((-1, 0, 1), repeat=len(others)):
            across = dict(zip(others, steps, strict=True))
            difference = part({**across, axis: 1}) - part({**across, axis: -1})
            slope = slope + (weight if any(steps) else 2 * weight) * difference
        total = total + jnp.abs(slope)
    return total


def _structure_map(a: Map, b: Map, g_a: Map, g_b: Map) -> Map:
    """l c s of every window."""
    mean_a, mean_b = (window_means(centre(u, 1)) for u in (a, b))
    luminance = (2 * mean_a * mean_b + C1) / (mean_a**2 + mean_b**2 + C1)
    slope_a, slope_b = window_means(g_a), window_means(g_b)

    def deviation(g: Map, mean: Map) -> Map:
        square = window_means(g * g)
        # 0 where all of the window is, and only there.
        return jnp.sqrt(jnp.maximum(square - mean**2, 0) + _REGULAR * (square + mean**2) / 2)

    sigma_a, sigma_b = deviation(g_a, slope_a), deviation(g_b, slope_b)
    contrast = (2 * sigma_a * sigma_b + C2) / (sigma_a**2 + sigma_b**2 + C2)
    covariance = window_means(g_a * g_b) - slope_a * slope_b
    structure = (covariance + C2 / 2) / (sigma_a * sigma_b + C2 / 2)
    flat_a, flat_b = sigma_a == 0, sigma_b == 0
    return luminance * contrast * jnp.where(flat_a | flat_b, (flat_a & flat_b).astype(jnp.float32), structure)


def regions(g_a: Map, g_b: Map) -> list[Bool[Array, "b *spatial 1"]]:
    """Kept edges, changed edges, smooth places, texture: each pixel is in one of them. Thresholds are those of g_a."""
    greatest = g_a.max(axis=tuple(range(1, g_a.ndim)), keepdims=True)
    edge_a, edge_b = g_a > EDGE * greatest, g_b > EDGE * greatest
    kept, changed = edge_a & edge_b, edge_a ^ edge_b
    smooth = (g_a < SMOOTH * greatest) & ~edge_b
    return [kept, changed, smooth, ~(kept | changed | smooth)]


def _score(structure: Map, g_a: Map, g_b: Map) -> Float[Array, " b"]:
    axes = tuple(range(1, g_a.ndim))
    inner = [centre(region, WINDOW // 2) for region in regions(g_a, g_b)]
    counts = jnp.stack([region.sum(axes) for region in inner])
    sums = jnp.stack([jnp.where(region, structure, 0).sum(axes) for region in inner])
    return jnp.maximum((sums / jnp.maximum(counts, 1)).sum(0) / (counts > 0).sum(0), 0)


def gradient_ssim(x: Float[Array, "b *spatial c"], y: Float[Array, "b *spatial c"]) -> tuple[Float[Array, " b"]]:
    """4-G-R-SSIM of each pair of unit images, for `paired_images.of_pairs`: the mean of both orders and of channels.

    The score depends on which image comes first (its gradients set the thresholds); pairs of a set have no order.
    """
    channels = x.shape[-1]
    a, b = (jnp.moveaxis(u, -1, 1).reshape(-1, *u.shape[1:-1], 1) for u in (x, y))
    g_a, g_b = gradient_magnitude(a), gradient_magnitude(b)
    structure = _structure_map(a, b, g_a, g_b)
    both = (_score(structure, g_a, g_b) + _score(structure, g_b, g_a)) / 2
    return (both.reshape(-1, channels).mean(1),)
