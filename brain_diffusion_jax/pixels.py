"""Stored pixels and unit pixels, for numpy and JAX arrays alike: stored uint8 0..255 is [0, 1] in float32."""

from __future__ import annotations

from typing import Any

from brain_diffusion_jax.errors import InputError


def full_scale(dtype: Any) -> float:
    """What stands for 1 in stored pixels: 255 for uint8, else 1."""
    return 255.0 if dtype == "uint8" else 1.0


def to_unit(stored: Any) -> Any:
    """float32 in [0, 1] of stored pixels: uint8 over 255, floats as they are. numpy or JAX, any shape."""
    if stored.dtype == "uint8":
        return stored.astype("float32") / full_scale("uint8")
    if stored.dtype.kind not in "fV":  # V: bfloat16, as numpy calls it
        raise InputError("pixels", "dtype", stored.dtype, "uint8, or floats in [0, 1]")
    return stored.astype("float32")


def to_uint8(unit: Any) -> Any:
    """uint8 of unit pixels, rounded to the nearest and clipped to [0, 1]; uint8 passes. numpy or JAX, any shape.

    Raises InputError where a numpy array holds NaN or infinity (JAX arrays under jit cannot be asked).
    """
    import numpy as np

    if unit.dtype == "uint8":
        return unit
    if isinstance(unit, np.ndarray) and not np.isfinite(unit).all():
        raise InputError("pixels", "values", "NaN or infinity", "finite pixels in [0, 1]")
    return (unit.clip(0, 1) * 255).round().astype("uint8")


def eight_bit(unit: Any) -> Any:
    """Unit pixels with the rounding of uint8 in their own float type: what a stored image can show of them."""
    return (unit * 255).round() / 255
