"""Spacings: which levels of a schedule the steps of a sampler visit, noisiest first, clean last."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from brain_diffusion_jax.array_types import Level
from brain_diffusion_jax.diffusion.schedules import DiscreteSchedule
from brain_diffusion_jax.errors import InputError, nearest


def linear(train_steps: int, num_steps: int, offset: int = 0) -> Int[np.ndarray, " n"]:
    """round(linspace(T-1-offset, 0, n)) + offset: both ends of the table (MONAI's DDIM)."""
    return np.round(np.linspace(train_steps - 1 - offset, 0, num_steps)).astype(np.int64) + offset


def leading(train_steps: int, num_steps: int, offset: int = 0) -> Int[np.ndarray, " n"]:
    """k (T//n) + offset for k = n-1..0: starts below the noisiest level (DDIM, PNDM)."""
    return np.arange(num_steps)[::-1] * (train_steps // num_steps) + offset


def trailing(train_steps: int, num_steps: int, offset: int = 0) -> Int[np.ndarray, " n"]:
    """round(T - k T/n) - 1: starts at the noisiest level (Lin et al. 2024, tab. 2). offset must be 0."""
    if offset:
        raise InputError("sample", "steps_offset", offset, "0 with trailing spacing")
    return np.round(train_steps - np.arange(num_steps) * train_steps / num_steps).astype(np.int64) - 1


_BY_INDEX = {"linear": linear, "leading": leading, "trailing": trailing}


def names() -> tuple[str, ...]:
    """The spacings that `select` knows."""
    return tuple(sorted(_BY_INDEX))


def check_num_steps(schedule: DiscreteSchedule, num_steps: int) -> int:
    """`num_steps` itself; InputError below 1 or beyond the table."""
    if not 1 <= num_steps <= schedule.num_steps:
        raise InputError("sample", "num_steps", num_steps, f"1 to {schedule.num_steps}, the length of the schedule")
    return num_steps


def select(schedule: DiscreteSchedule, num_steps: int, spacing: str = "trailing", *, steps_offset: int = 0) -> Level:
    """Levels float64 [num_steps + 1], noisiest first; the last is clean (alpha 1, sigma 0)."""
    check_num_steps(schedule, num_steps)
    if spacing not in _BY_INDEX:
        raise InputError("sample", "spacing", spacing, nearest(spacing, names()))
    if not 0 <= steps_offset < schedule.num_steps:
        raise InputError("sample", "steps_offset", steps_offset, f"0 to {schedule.num_steps - 1}")
    indices = np.minimum(_BY_INDEX[spacing](schedule.num_steps, num_steps, steps_offset), schedule.num_steps - 1)
    return schedule.level(np.append(indices, -1))


def log_snr(level: Level) -> Float[np.ndarray, "*shape"]:
    """log(alpha^2 / sigma^2); +inf where clean."""
    with np.errstate(divide="ignore"):
        return 2 * (np.log(np.asarray(level.alpha)) - np.log(np.asarray(level.sigma)))
