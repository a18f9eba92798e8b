"""Adaptive projected guidance: which part of the difference helps, how long it may be, and its momentum."""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp

from brain_diffusion_jax.array_types import Condition, DenoiseFn, Image, Level, Prediction
from brain_diffusion_jax.diffusion.guidance.classifier_free import Scale, both, is_off
from brain_diffusion_jax.diffusion.prediction import expand, from_x0, under_clipping
from brain_diffusion_jax.errors import InputError


@dataclass(frozen=True)
class Projected:
    """The guided denoiser. With momentum its memory is the running difference, like x; see `memory.Remembering`."""

    denoise: DenoiseFn
    scale: Scale
    parallel: Scale
    radius: Scale
    momentum: Scale

    def start(self, x: Image) -> Image:
        """No difference yet: zeros like x."""
        return jnp.zeros_like(x)

    def recall(self, x: Image, level: Level, condition: Condition | None, memory: Image) -> tuple[Prediction, Image]:
        """(guided prediction, x0_cond - x0_null + momentum memory); see `projected` for the formula."""
        null, conditional = both(self.denoise, x, level, condition)
        running = conditional.x0 - null.x0 + expand(self.momentum, x) * memory
        axes = tuple(range(1, x.ndim))
        length = jnp.sqrt(jnp.mean(running**2, axis=axes, keepdims=True))
        d = running * jnp.minimum(1.0, expand(self.radius, x) / jnp.maximum(length, 1e-8))
        energy = jnp.maximum(jnp.sum(conditional.x0**2, axis=axes, keepdims=True), 1e-12)
        along = jnp.sum(d * conditional.x0, axis=axes, keepdims=True) / energy * conditional.x0
        push = d - along + expand(self.parallel, x) * along
        return from_x0(conditional.x0 + (expand(self.scale, x) - 1) * push, x, level), running

    def __call__(self, x: Image, level: Level, condition: Condition | None) -> Prediction:
        if not is_off(self.momentum, 0.0):
            found = "a call without its memory"
            raise InputError("guidance projected", "momentum", found, "sampling with it as the outermost rule, or 0")
        return self.recall(x, level, condition, jnp.zeros_like(x))[0]


@under_clipping
def projected(
    denoise: DenoiseFn, scale: Scale, parallel: Scale = 0.0, radius: Scale = float("inf"), momentum: Scale = 0.0
) -> DenoiseFn:
    """Adaptive projected guidance (Sadat et al. 2024, alg. 1).

    d = x0_cond - x0_null + momentum d_last, shortened to `radius` (root mean square) if longer; x0 = x0_cond +
    (w - 1)(d_orthogonal + parallel d_parallel), parallel and orthogonal to x0_cond. momentum: 0 is off; the paper's
    is negative (-0.5 to -0.75), so that each step pushes where the last one did not. Off: scale 1; parallel 1 with
    radius infinity and momentum 0 is plain classifier-free guidance.
    """
    if isinstance(momentum, int | float) and not -1 < momentum < 1:
        raise InputError("guidance projected", "momentum", momentum, "above -1 and below 1; 0 is off")
    return denoise if is_off(scale, 1.0) else Projected(denoise, scale, parallel, radius, momentum)
