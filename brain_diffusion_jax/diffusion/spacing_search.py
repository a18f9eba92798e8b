"""Spacings found for a given model: the levels between which its own predictions change least."""

from __future__ import annotations

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from brain_diffusion_jax.array_types import Condition, DenoiseFn, Image, Level
from brain_diffusion_jax.diffusion.levels import check_num_steps, select
from brain_diffusion_jax.diffusion.samplers.base import as_pairs
from brain_diffusion_jax.diffusion.samplers.exponential import first_order
from brain_diffusion_jax.diffusion.schedules import DiscreteSchedule


def step_errors(
    denoise: DenoiseFn, levels: Level, x_init: Image, condition: Condition | None
) -> Float[np.ndarray, "g g"]:
    """error[i, j], i < j: root mean square error of one DDIM step from level i to j against small steps.

    levels: [g], fine, the last clean; x_init: [batch, ...] at levels[0]. In units of the standard deviation of
    x at j, sqrt(alpha^2 c^2 + sigma^2) with c that of the samples: what is left of it at the end, were they
    Gaussian. g - 1 network calls.
    """

    def body(x: Image, at: tuple[Level, Level]):
        prediction = denoise(x, at[0], condition)
        return first_order(prediction, at[1]), (x, *prediction[:2])

    final, (x, x0, eps) = jax.jit(lambda x: jax.lax.scan(body, x, as_pairs(levels, x.dtype)))(x_init)
    alpha, sigma = (np.asarray(v, x_init.dtype).astype(np.float64) for v in (levels.alpha, levels.sigma))
    x, x0, eps = (np.asarray(v, np.float64).reshape(len(alpha) - 1, -1) for v in (x, x0, eps))
    x = np.concatenate([x, np.asarray(final, np.float64).reshape(1, -1)])
    spread = float(jnp.var(final))
    errors = np.full((len(alpha), len(alpha)), np.inf)
    for j in range(1, len(alpha)):
        guess = alpha[j] * x0[:j] + sigma[j] * eps[:j]
        variance = max(alpha[j] ** 2 * spread + sigma[j] ** 2, 1e-12)
        errors[:j, j] = np.sqrt(np.mean((guess - x[j]) ** 2, axis=1) / variance)
    return errors


def greedy(errors: Float[np.ndarray, "g g"], num_points: int) -> list[int]:
    """Positions in the fine grid: both ends, then again and again the point that removes most error."""
    chosen = [0, len(errors) - 1]
    while len(chosen) < num_points:
        gains = {k: errors[i, j] - errors[i, k] - errors[k, j] for i, j in pairwise(chosen) for k in range(i + 1, j)}
        chosen = sorted([*chosen, max(gains, key=gains.__getitem__)])
    return chosen


class Optimised:
    """A spacing for one model, found greedily on the trajectories that start at x_init; for `levels.register`.

    denoise: guided as it will be used. x_init: [batch, ...] at the noisiest level. The model is called
    grid_steps times in all, for any number of spacing lengths.
    """

    def __init__(
        self, denoise: DenoiseFn, x_init: Image, condition: Condition | None = None, grid_steps: int = 100
    ) -> None:
        self.denoise, self.x_init, self.condition, self.grid_steps = denoise, x_init, condition, grid_steps
        self._known: dict[tuple[DiscreteSchedule, int], tuple[Level, np.ndarray]] = {}

    def __call__(self, schedule: DiscreteSchedule, num_steps: int) -> Level:
        """Levels [num_steps], without the clean one."""
        grid = max(check_num_steps(schedule, num_steps), min(self.grid_steps, schedule.num_steps))
        if (schedule, grid) not in self._known:
            fine = select(schedule, grid, "trailing")
            self._known[schedule, grid] = fine, step_errors(self.denoise, fine, self.x_init, self.condition)
        fine, errors = self._known[schedule, grid]
        chosen = greedy(errors, num_steps + 1)
        return Level(*(v[chosen][:-1] for v in fine))
