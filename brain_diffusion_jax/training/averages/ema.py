"""Averages of the weights over training: plain exponential, and the power functions of EDM2."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from brain_diffusion_jax.array_types import Params


def plain_decay(step: jax.Array, decay: float) -> jax.Array:
    """Decay of the plain EMA at `step` (0 for the first); ramps up so that short runs forget their start."""
    step = jnp.asarray(step, jnp.float32)
    return jnp.minimum(decay, (1.0 + step) / (10.0 + step))


def power_exponent(sigma_rel: float) -> float:
    """gamma of the power function with relative width sigma_rel (Karras et al. 2024, eq. 127).

    sigma_rel^2 = (gamma + 1) / ((gamma + 2)^2 (gamma + 3)); sigma_rel in (0, 0.2887).
    """
    inverse = sigma_rel**-2
    roots = np.roots([1.0, 7.0, 16.0 - inverse, 12.0 - inverse])
    return float(np.max(roots.real[np.abs(roots.imag) < 1e-9]))


def power_decay(step: jax.Array, gamma: float) -> jax.Array:
    """beta_t = (1 - 1/t)^(gamma + 1), t = step + 1 (Karras et al. 2024, eq. 127): 0 at the first step."""
    t = jnp.asarray(step, jnp.float32) + 1.0
    return (1.0 - 1.0 / t) ** (gamma + 1.0)


def mix(average: Params, params: Params, decay: jax.Array) -> Params:
    """decay * average + (1 - decay) * params, in the dtype of `average`."""
    return jax.tree.map(lambda a, p: (a + (1.0 - decay) * (p - a)).astype(a.dtype), average, params)
