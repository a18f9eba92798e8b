"""The window and the constants of SSIM (Wang et al. 2004), wherever it is computed."""

from __future__ import annotations

import numpy as np

WINDOW, SIGMA = 11, 1.5
C1, C2 = 0.01**2, 0.03**2
MS_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # of the scales of MS-SSIM (Wang et al. 2003)


def gaussian_line(size: int = WINDOW) -> np.ndarray:
    """[size] weights that sum to 1, size odd; the window is their outer product."""
    offsets = np.arange(size) - size // 2
    line = np.exp(-(offsets**2) / (2 * SIGMA**2))
    return line / line.sum()
