"""Weights that are no numbers are refused, whichever way they come or go."""

from __future__ import annotations

import numpy as np

from brain_diffusion_jax.errors import InputError


def require_finite(where: object, name: str, array: np.ndarray) -> None:
    """Raise InputError where an array of floats holds NaN or an infinity."""
    finite = np.isfinite(np.asarray(array))
    if not finite.all():
        bad = f"{finite.size - finite.sum()} of {finite.size} numbers NaN or infinite"
        raise InputError(where, name, bad, "finite weights")
