"""Ages of many slices in one compiled call."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Shaped

from brain_diffusion_jax.pixels import to_unit


@partial(jax.jit, static_argnums=0)
def _ages(apply: Callable[..., Any], variables: Any, batches: Any) -> Any:
    def one(images):
        unit = to_unit(images)
        # One trunk: the compiler finds that both calls begin alike.
        return apply(variables, unit), apply(variables, unit, features=True)

    # A loop on the device: memory for one batch of activations, and no wait for Python between batches.
    return jax.lax.map(one, batches)


def predict_slices(
    apply: Callable[..., Any], variables: Any, images: Shaped[np.ndarray, "n rows cols c"], batch_size: int = 40
) -> tuple[jax.Array, jax.Array]:
    """Ages [n] and pooled features [n, d] of stored (uint8) or unit (float32) images, still on the device.

    apply(variables, images in [0, 1]) -> ages, and with features=True features; keep one function object, it
    keys the compiled program. One program for each number of batches ceil(n / batch_size).
    """
    count = len(images)
    size = min(batch_size, max(count, 1))
    padded = np.concatenate([images, np.zeros((-count % size, *images.shape[1:]), images.dtype)])
    ages, features = _ages(apply, variables, padded.reshape(-1, size, *images.shape[1:]))
    return ages.reshape(-1)[:count], features.reshape(-1, features.shape[-1])[:count]


def median_and_spread(ages: Float[np.ndarray, " n"]) -> tuple[float, float]:
    """Median over slices, and half the range that holds the middle 68 %, years."""
    low, middle, high = np.quantile(ages, [0.16, 0.5, 0.84])
    return float(middle), float((high - low) / 2)


def person_summary(ages: Float[np.ndarray, " n"]) -> dict[str, float]:
    """`median_and_spread` of a scan's slices, and their mean, years."""
    middle, spread = median_and_spread(ages)
    return {"age": middle, "spread": spread, "mean": float(np.mean(ages))}
