"""The diffusion process of a model: its schedule, what its network predicts, and its range of intensities."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from brain_diffusion_jax.array_types import DenoiseFn, Image, Level, NetworkFn
from brain_diffusion_jax.diffusion import prediction, schedules
from brain_diffusion_jax.errors import InputError


@dataclass(frozen=True)
class Process:
    """The noise schedule and prediction target of one model: `Process(**config.diffusion)`.

    schedule: a name of `schedules.names()`; beta_start, beta_end matter to linear, scaled_linear and sigmoid only.
    zero_terminal_snr: no signal at the last level (Lin et al. 2024). prediction: the target, one of
    `prediction.KINDS`. data_range: black and white in the network's range. clip_x0: clip predicted images to it
    while sampling, after guidance; clip_range: other bounds. clip_keeps_eps: eps does not follow the clipped x0,
    as in MONAI's DDIM. Raises InputError for names that do not exist and settings that contradict each other.
    """

    schedule: str = "cosine"
    num_train_steps: int = 1000
    beta_start: float = 1e-4
    beta_end: float = 2e-2
    zero_terminal_snr: bool = False
    prediction: str = "v"
    data_range: tuple[float, float] = (-1.0, 1.0)
    clip_x0: bool = True
    clip_range: tuple[float, float] | None = None
    clip_keeps_eps: bool = False

    def __post_init__(self) -> None:
        prediction.check_kind(self.prediction)
        object.__setattr__(self, "data_range", tuple(float(v) for v in self.data_range))
        if len(self.data_range) != 2 or not self.data_range[0] < self.data_range[1]:
            raise InputError("diffusion", "data_range", self.data_range, "two numbers, low < high")
        if self.prediction == "eps" and self.table.alpha_bar[-1] == 0:
            raise InputError("diffusion", "prediction", "eps", "v, x0 or flow: the last level has no signal")

    @cached_property
    def table(self) -> schedules.DiscreteSchedule:
        """The table of noise levels."""
        return schedules.make(
            self.schedule, self.num_train_steps, self.beta_start, self.beta_end, self.zero_terminal_snr
        )

    def level(self, index: Int[Array, " batch"]) -> Level:
        """The levels of a batch of table positions, 0 (least noisy) to num_train_steps - 1; -1 is clean."""
        return self.table.level(index)

    def to_network(self, unit: Image) -> Image:
        """Images in [0, 1], scaled to the network's range."""
        low, high = self.data_range
        return jnp.asarray(unit, jnp.float32) * (high - low) + low

    def to_unit(self, x: Image) -> Image:
        """Images in the network's range, scaled and clipped to [0, 1]."""
        low, high = self.data_range
        return jnp.clip((x - low) / (high - low), 0.0, 1.0)

    def add_noise(self, x0: Image, eps: Image, level: Level) -> Image:
        """x_t = alpha x0 + sigma eps."""
        return prediction.add_noise(x0, eps, level)

    def target(self, x0: Image, eps: Image, level: Level) -> Image:
        """The prediction target at this level; see `prediction.target`."""
        return prediction.target(x0, eps, level, self.prediction)

    def log_snr(self, level: Level) -> Float[Array, " batch"]:
        """log(alpha^2 / sigma^2), kept finite (|.| <= 40) for loss weights."""
        alpha, sigma = jnp.asarray(level.alpha), jnp.asarray(level.sigma)
        return jnp.clip(2 * (jnp.log(jnp.maximum(alpha, 1e-20)) - jnp.log(jnp.maximum(sigma, 1e-20))), -40, 40)

    def denoise_fn(self, network: NetworkFn) -> DenoiseFn:
        """The DenoiseFn of a network; clips x0 if clip_x0, and guidance acts inside the clipping.

        Give the network as jax.tree_util.Partial(apply, params) for fast repeated calls of `sweep`:
        it is then compiled once, with the parameters as an argument.
        """
        raw = prediction.NetworkDenoiser(network, self.prediction, self.table)
        return (
            prediction.Clipped(raw, *(self.clip_range or self.data_range), self.clip_keeps_eps) if self.clip_x0 else raw
        )
