"""Noise schedules: tables of (alpha, sigma) with x_t = alpha x0 + sigma eps, in float64.

`beta` schedules define alpha_bar_t = prod_{i<=t} (1 - beta_i); alpha = sqrt(alpha_bar) and
sigma = sqrt(1 - alpha_bar). Index 0 is the least noisy level of the table; index -1 is clean.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int
from scipy.special import expit

from brain_diffusion_jax.array_types import Level
from brain_diffusion_jax.errors import InputError, nearest


@dataclass(frozen=True, eq=False)
class DiscreteSchedule:
    """T noise levels, clean to noise. alpha_bar: float64 [T], the squared signal fraction alpha^2.

    sigma: float64 [T]; sqrt(1 - alpha_bar) (variance preserving) unless given.
    time: float64 [T], the t that the network receives; the index unless given. Raises InputError unless every
    number is finite and alpha / sigma falls strictly.
    """

    alpha_bar: Float[np.ndarray, " T"]
    sigma: Float[np.ndarray, " T"] | None = None
    time: Float[np.ndarray, " T"] | None = None
    # The tables with the clean level appended, so that index -1 finds it.
    _tables: Level = field(init=False, repr=False)

    def __post_init__(self) -> None:
        alpha_bar = np.asarray(self.alpha_bar, np.float64)
        sigma = np.sqrt(1 - alpha_bar) if self.sigma is None else np.asarray(self.sigma, np.float64)
        clean_time = -1.0 if self.time is None else float(np.asarray(self.time)[0])
        time = np.arange(len(alpha_bar), dtype=np.float64) if self.time is None else np.asarray(self.time, np.float64)
        for name, table in (("alpha_bar", alpha_bar), ("sigma", sigma), ("time", time)):
            object.__setattr__(self, name, table)
            if not np.all(np.isfinite(table)):
                raise InputError("schedule", name, "NaN or infinity", "finite numbers")
        ratio = np.sqrt(alpha_bar) / np.maximum(sigma, 1e-300)
        if len(alpha_bar) > 1 and not np.all(np.diff(ratio) < 0):
            raise InputError("schedule", "alpha / sigma", "not strictly decreasing", "more noise with every step")
        clean = Level(t=clean_time, alpha=1.0, sigma=0.0)
        tables = Level(time, np.sqrt(alpha_bar), sigma)
        object.__setattr__(self, "_tables", Level(*(np.append(a, b) for a, b in zip(tables, clean, strict=True))))

    @property
    def num_steps(self) -> int:
        """T, the number of levels of the table."""
        return len(self.alpha_bar)

    @property
    def log_snr(self) -> Float[np.ndarray, " T"]:
        """log(alpha^2 / sigma^2), float64 [T], decreasing; -inf where alpha is 0."""
        with np.errstate(divide="ignore"):
            return 2 * (np.log(self._tables.alpha[:-1]) - np.log(self._tables.sigma[:-1]))

    def level(self, index: Int[Any, "*shape"]) -> Level:
        """The levels at table positions; -1 is clean. Traced in, traced out; numpy in, float64 out."""
        if isinstance(index, jax.Array):
            return Level(*(jnp.asarray(table)[index] for table in self._tables))
        return Level(*(table[np.asarray(index)] for table in self._tables))

    def at_log_snr(self, log_snr: Float[np.ndarray, "*shape"]) -> Level:
        """Levels between those of the table: t is interpolated linearly in log-SNR; clipped to its ends.

        On the table's curve: variance preserving stays so; otherwise log(alpha) is interpolated too.
        """
        return self._interpolated(np.asarray(log_snr, np.float64), np, expit)

    def locate(self, level: Level) -> Level:
        """The table's own level with the noise-to-signal ratio of `level`; traced; clipped to the table's ends."""
        alpha, sigma = jnp.asarray(level.alpha), jnp.asarray(level.sigma)
        log_snr = 2 * (jnp.log(jnp.maximum(alpha, 1e-12)) - jnp.log(jnp.maximum(sigma, 1e-12)))
        return self._interpolated(log_snr, jnp, jax.nn.sigmoid)

    def _interpolated(self, log_snr: Any, xp: Any, sigmoid: Callable[[Any], Any]) -> Level:
        """`at_log_snr` in numpy or, traced, in jax.numpy."""
        finite = np.isfinite(self.log_snr)
        # interp wants increasing abscissae
        grid, t, alpha = (v[finite][::-1] for v in (self.log_snr, self._tables.t[:-1], self._tables.alpha[:-1]))
        target = xp.clip(log_snr, grid[0], grid[-1])
        t = xp.interp(target, grid, t)
        if self.is_variance_preserving:
            return Level(t, xp.sqrt(sigmoid(target)), xp.sqrt(sigmoid(-target)))
        alpha = xp.exp(xp.interp(target, grid, np.log(alpha)))
        return Level(t, alpha, alpha * xp.exp(-target / 2))

    @property
    def is_variance_preserving(self) -> bool:
        """Whether alpha^2 + sigma^2 = 1 at every level."""
        assert self.sigma is not None
        return bool(np.allclose(self.alpha_bar + self.sigma**2, 1.0, atol=1e-12))


def _from_betas(betas: Float[np.ndarray, " T"]) -> DiscreteSchedule:
    return DiscreteSchedule(np.cumprod(1 - betas))


def linear(num_train_steps: int = 1000, beta_start: float = 1e-4, beta_end: float = 2e-2) -> DiscreteSchedule:
    """beta from beta_start to beta_end in equal steps (Ho et al. 2020)."""
    return _from_betas(np.linspace(beta_start, beta_end, num_train_steps, dtype=np.float64))


def scaled_linear(num_train_steps: int = 1000, beta_start: float = 1e-4, beta_end: float = 2e-2) -> DiscreteSchedule:
    """sqrt(beta) in equal steps (Rombach et al. 2022)."""
    return _from_betas(np.linspace(beta_start**0.5, beta_end**0.5, num_train_steps, dtype=np.float64) ** 2)


def sigmoid(
    num_train_steps: int = 1000, beta_start: float = 1e-4, beta_end: float = 2e-2, reach: float = 6.0
) -> DiscreteSchedule:
    """beta = beta_start + (beta_end - beta_start) sigmoid(u), u from -reach to reach (Xu et al. 2022, MONAI)."""
    u = np.linspace(-reach, reach, num_train_steps, dtype=np.float64)
    return _from_betas(beta_start + (beta_end - beta_start) / (1 + np.exp(-u)))


def _cosine_curve(points: Float[np.ndarray, " T"], offset: float) -> Float[np.ndarray, " T"]:
    return np.cos((points + offset) / (1 + offset) * math.pi / 2) ** 2


def cosine(num_train_steps: int = 1000, offset: float = 0.008, max_beta: float = 0.999) -> DiscreteSchedule:
    """alpha_bar = f((t+1)/T) / f(0), f(u) = cos^2(pi/2 (u + s)/(1 + s)), with beta <= max_beta.

    Nichol & Dhariwal 2021, eq. 17; the cap keeps the last level above zero signal.
    """
    curve = _cosine_curve(np.arange(num_train_steps + 1, dtype=np.float64) / num_train_steps, offset)
    return _from_betas(np.minimum(1 - curve[1:] / curve[:-1], max_beta))


def cosine_monai(num_train_steps: int = 1000, offset: float = 0.008) -> DiscreteSchedule:
    """The cosine table of MONAI 1.4 to 1.5, for importing models trained on it; use `cosine` for new models.

    It drops the last entry of f((0..T)/T) instead of the first: index 0 has no noise at all, and the
    noisiest level is missing. MONAI 1.6 has the published formula.
    """
    curve = _cosine_curve(np.arange(num_train_steps, dtype=np.float64) / num_train_steps, offset)
    return DiscreteSchedule(curve / curve[0])


def edm(
    num_train_steps: int = 1000, sigma_min: float = 0.002, sigma_max: float = 80.0, rho: float = 7.0
) -> DiscreteSchedule:
    """Variance exploding: alpha = 1, sigma on Karras' curve; the network receives log(sigma)/4.

    Karras et al. 2022, eq. 5 and tab. 1.
    """
    ramp = np.linspace(0, 1, num_train_steps, dtype=np.float64)
    sigma = (sigma_min ** (1 / rho) + ramp * (sigma_max ** (1 / rho) - sigma_min ** (1 / rho))) ** rho
    return DiscreteSchedule(np.ones_like(sigma), sigma, np.log(sigma) / 4)


def flow(num_train_steps: int = 1000) -> DiscreteSchedule:
    """Rectified flow: sigma = (t+1)/T, alpha = 1 - sigma (Liu et al. 2022b); the last level is pure noise."""
    sigma = np.arange(1, num_train_steps + 1, dtype=np.float64) / num_train_steps
    return DiscreteSchedule((1 - sigma) ** 2, sigma, np.arange(num_train_steps, dtype=np.float64))


def rescale_to_zero_terminal_snr(schedule: DiscreteSchedule) -> DiscreteSchedule:
    """Shift and scale sqrt(alpha_bar) so that its last value is 0, its first unchanged (Lin et al. 2024, alg. 1)."""
    root = np.sqrt(schedule.alpha_bar)
    root = (root - root[-1]) * root[0] / (root[0] - root[-1])
    return DiscreteSchedule(root**2)


_WITH_BETAS: dict[str, Callable[..., DiscreteSchedule]] = {
    "linear": linear,
    "scaled_linear": scaled_linear,
    "sigmoid": sigmoid,
}
_WITHOUT_BETAS: dict[str, Callable[..., DiscreteSchedule]] = {
    "cosine": cosine,
    "cosine_monai": cosine_monai,
    "flow": flow,
    "edm": edm,
}


def names() -> tuple[str, ...]:
    """The names of schedules that `make` accepts."""
    return tuple(sorted({**_WITH_BETAS, **_WITHOUT_BETAS}))


@functools.lru_cache(maxsize=64)
def make(
    name: str,
    num_train_steps: int = 1000,
    beta_start: float = 1e-4,
    beta_end: float = 2e-2,
    zero_terminal_snr: bool = False,
) -> DiscreteSchedule:
    """The schedule called `name`, the same object for the same arguments.

    beta_start and beta_end matter to linear, scaled_linear and sigmoid only. Raises InputError for an unknown name
    and values outside their range.
    """
    if num_train_steps < 1:
        raise InputError("diffusion", "num_train_steps", num_train_steps, "at least 1")
    if name in _WITH_BETAS:
        if not 0 < beta_start <= beta_end < 1:
            raise InputError("diffusion", "beta_start, beta_end", (beta_start, beta_end), "0 < start <= end < 1")
        schedule = _WITH_BETAS[name](num_train_steps, beta_start, beta_end)
    elif name in _WITHOUT_BETAS:
        schedule = _WITHOUT_BETAS[name](num_train_steps)
    else:
        raise InputError("diffusion", "schedule", name, nearest(name, names()))
    if not zero_terminal_snr:
        return schedule
    if not schedule.is_variance_preserving:
        raise InputError("diffusion", "zero_terminal_snr", True, f"false with the schedule {name!r}")
    return rescale_to_zero_terminal_snr(schedule)
