"""Spacings: which levels of a schedule the steps of a sampler visit, noisiest first, clean last.

A spacing is a function (schedule, num_steps) -> Level [num_steps], noisiest first; `select` appends the
clean level. `register` adds one from outside the package.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from brain_diffusion_jax.array_types import Level
from brain_diffusion_jax.diffusion.schedules import DiscreteSchedule
from brain_diffusion_jax.errors import InputError, nearest, require_one_of

Spacing = Callable[[DiscreteSchedule, int], Level]


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


def ends(schedule: DiscreteSchedule) -> tuple[float, float]:
    """The smallest and the largest finite log-SNR of a schedule."""
    table = schedule.log_snr[np.isfinite(schedule.log_snr)]
    return float(table.min()), float(table.max())


def at_log_snr(schedule: DiscreteSchedule, log_snr: Float[np.ndarray, " n"]) -> Level:
    """Levels at increasing log-SNR, the first replaced by pure noise where the schedule ends in it."""
    levels = schedule.at_log_snr(log_snr)
    if schedule.alpha_bar[-1] > 0:
        return levels
    return Level(*(np.append(last, v[1:]) for last, v in zip(schedule.level(schedule.num_steps - 1), levels)))


def karras(schedule: DiscreteSchedule, num_steps: int, rho: float = 7.0) -> Level:
    """(sigma/alpha)^(1/rho) in equal steps (Karras et al. 2022, eq. 5), between the schedule's own ends."""
    low, high = ends(schedule)
    root = np.linspace(np.exp(-low / 2 / rho), np.exp(-high / 2 / rho), num_steps)
    return at_log_snr(schedule, -2 * rho * np.log(root))


def uniform_log_snr(schedule: DiscreteSchedule, num_steps: int) -> Level:
    """Equal steps of log-SNR between the schedule's ends (DPM-Solver)."""
    return at_log_snr(schedule, np.linspace(*ends(schedule), num_steps))


def fewest_by_cost(cost: Float[np.ndarray, "g g"], num_points: int) -> Int[np.ndarray, " n"]:
    """The path 0 = i_1 < ... < i_n = g-1 with the least sum of cost[i_k, i_k+1], by dynamic programming."""
    size = len(cost)
    if not 2 <= num_points < size:
        return np.array([0]) if num_points == 1 else np.arange(size)
    upper = np.where(np.triu(np.ones((size, size), bool), 1), cost, np.inf)
    best, back = np.full(size, np.inf), []
    best[0] = 0.0
    for _ in range(num_points - 1):
        total = best[:, None] + upper
        back.append(np.argmin(total, axis=0))
        best = np.min(total, axis=0)
    path = [size - 1]
    for previous in reversed(back):
        path.append(int(previous[path[-1]]))
    return np.array(path[::-1])


def aligned(schedule: DiscreteSchedule, num_steps: int, data_std: float = 0.5, grid: int = 400) -> Level:
    """Levels with the least KL bound between a first-order reverse SDE and the true one, for Gaussian data.

    In the spirit of Align Your Steps (Sabour et al. 2024), computed here: with r = sigma/alpha and data of
    standard deviation c = data_std, a step from r_i down to r_j costs
    int_{r_j}^{r_i} (c^4/(c^2 + r^2) - c^4/(c^2 + r_i^2)) r^-3 dr. The ends are those of the schedule.
    """
    low, high = ends(schedule)
    log_snr = np.linspace(low, high, max(grid, num_steps))
    r, c2 = np.exp(-log_snr / 2), data_std**2
    # Antiderivatives of 1/(r^3 (c2 + r^2)) and r^-3.
    whole = -1 / (2 * c2 * r**2) + np.log1p(c2 / r**2) / (2 * c2**2)
    cubes = -1 / (2 * r**2)
    difference = whole[:, None] - whole[None, :]
    cost = c2**2 * (difference - (cubes[:, None] - cubes[None, :]) / (c2 + r[:, None] ** 2))
    return at_log_snr(schedule, log_snr[fewest_by_cost(np.maximum(cost, 0), num_steps)])


_BY_INDEX = {"linear": linear, "leading": leading, "trailing": trailing}
_BY_LEVEL: dict[str, Spacing] = {"karras": karras, "log_snr": uniform_log_snr, "aligned": aligned}
_REGISTERED: dict[str, Spacing] = {}


def names() -> tuple[str, ...]:
    """The names of spacings that `select` accepts."""
    return tuple(sorted({*_BY_INDEX, *_BY_LEVEL, *_REGISTERED}))


def register(name: str, spacing: Spacing, *, replace: bool = False) -> None:
    """Make `select(..., name)` use spacing(schedule, num_steps); a taken name is refused.

    replace: unless it was registered before.
    """
    if name in names() and _REGISTERED.get(name) is not spacing and not (replace and name in _REGISTERED):
        raise InputError("levels.register", "name", name, "a name not taken yet")
    _REGISTERED[name] = spacing


def check_num_steps(schedule: DiscreteSchedule, num_steps: int) -> int:
    """`num_steps` itself; InputError below 1 or beyond the table."""
    if isinstance(num_steps, bool) or int(num_steps) != num_steps or not 1 <= num_steps <= schedule.num_steps:
        raise InputError("sample", "num_steps", num_steps, f"1 to {schedule.num_steps}, the length of the schedule")
    return int(num_steps)


def _indices(spacing: str, train_steps: int, num_steps: int, offset: int, **options: Any) -> Int[np.ndarray, " n"]:
    """Table positions, falling; InputError where an offset makes them leave the table or repeat one."""
    if not 0 <= offset < train_steps:
        raise InputError("sample", "steps_offset", offset, f"0 to {train_steps - 1}")
    positions = _BY_INDEX[spacing](train_steps, num_steps, offset, **options)
    if positions[0] >= train_steps or np.any(np.diff(positions) >= 0):
        clash = f"{offset}, which with {num_steps} steps of {train_steps} repeats a level or leaves the table"
        raise InputError("sample", "steps_offset", clash, "a smaller offset or fewer steps")
    return positions


def select(
    schedule: DiscreteSchedule,
    num_steps: int,
    spacing: str = "trailing",
    *,
    steps_offset: int = 0,
    final: str = "clean",
    **options: Any,
) -> Level:
    """Levels float64 [num_steps + 1], noisiest first.

    final: the last is "clean" (alpha 1, sigma 0), or the "first" of the table (set_alpha_to_one=False of
    other libraries). steps_offset: for linear and leading. options: of the spacing, e.g. rho of karras.
    Raises InputError where the spacing would visit a level twice or leave the table.
    """
    num_steps = check_num_steps(schedule, num_steps)
    require_one_of(final, ("clean", "first"), "sample", "final")
    last = schedule.level(-1 if final == "clean" else 0)
    if spacing in _BY_INDEX:
        levels = schedule.level(_indices(spacing, schedule.num_steps, num_steps, steps_offset, **options))
    elif spacing in names():
        if steps_offset:
            raise InputError("sample", "steps_offset", steps_offset, f"0 with {spacing} spacing")
        levels = {**_BY_LEVEL, **_REGISTERED}[spacing](schedule, num_steps, **options)
    else:
        raise InputError("sample", "spacing", spacing, f"one of {', '.join(names())} ({nearest(spacing, names())})")
    return Level(*(np.append(v, end) for v, end in zip(levels, last, strict=True)))


def strided_pairs(
    schedule: DiscreteSchedule, num_steps: int, *, steps_offset: int = 0, final: str = "clean"
) -> tuple[Level, Level]:
    """(level, next level) of each step as MONAI's DDIM loop takes them, for `base.run`.

    It starts each step at a point of `linear` but always moves down by T // n, so that steps do not quite join.
    GenerativeModels, which it comes from, took those of `leading`.
    """
    start = _indices("linear", schedule.num_steps, check_num_steps(schedule, num_steps), steps_offset)
    stop = np.maximum(start - schedule.num_steps // num_steps, -1)
    return schedule.level(start), schedule.level(np.where(stop < 0, -1 if final == "clean" else 0, stop))


# Spacings whose steps do not join, by name.
PAIRED: dict[str, Callable[..., tuple[Level, Level]]] = {"monai": strided_pairs}


def steps(schedule: DiscreteSchedule, num_steps: int, spacing: str = "trailing") -> Level | tuple[Level, Level]:
    """`select` for a name of `names`; (level, next level) of each step for one of PAIRED."""
    if spacing in PAIRED:
        return PAIRED[spacing](schedule, num_steps)
    return select(schedule, num_steps, spacing)
