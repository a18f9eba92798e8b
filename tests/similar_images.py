"""Images to compare, slices and volumes, and what tests compute from them window by window in float64."""

from __future__ import annotations

import numpy as np


def blobs(shape, seed):
    """Unit float32 [n, *spatial, c]: a smooth blob with texture, on an exactly black margin."""
    rng = np.random.default_rng(seed)
    n, *spatial, channels = shape
    grids = np.meshgrid(*(np.linspace(0, 1, size) for size in spatial), indexing="ij")
    out = np.zeros(shape)
    for i in range(n):
        for c in range(channels):
            centre = rng.uniform(0.35, 0.65, len(spatial))
            radius = sum((g - m) ** 2 for g, m in zip(grids, centre, strict=True))
            wave = np.sin(sum(g * f for g, f in zip(grids, rng.uniform(6, 25, len(spatial)), strict=True)))
            out[i, ..., c] = np.exp(-radius / 0.04) * rng.uniform(0.5, 0.9) * (1 + 0.3 * wave)
    out += rng.uniform(0, 0.01, shape)
    out[:, :2] = out[:, :, -1:] = 0
    return np.clip(out, 0, 1).astype(np.float32)


class _Windows:
    """windows7(a): all windows of 7 pixels an axis of `a` [*spatial] as rows [*windows, 7^d], float64."""

    def __call__(self, a):
        views = np.lib.stride_tricks.sliding_window_view(np.asarray(a, np.float64), (7,) * a.ndim)
        return views.reshape(*views.shape[: a.ndim], -1)

    def weights(self, dims):
        """[7^d] Gaussian weights of sigma 1.5, sum 1."""
        grids = np.meshgrid(*[np.arange(-3, 4)] * dims, indexing="ij")
        weights = np.exp(-sum(g**2 for g in grids) / (2 * 1.5**2)).ravel()
        return weights / weights.sum()


windows7 = _Windows()
