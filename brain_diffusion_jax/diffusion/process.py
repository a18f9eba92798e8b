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
    """`Process(**config.diffusion)`.

    data_range: what the network calls black and white. clip_x0: keep predicted pictures inside it while
    sampling, after guidance; clip_range: inside other bounds. clip_keeps_eps: MONAI's DDIM, which does
    not let eps follow the clipped x0.
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
        """The schedule itself."""
        return schedules.make(
            self.schedule, self.num_train_steps, self.beta_start, self.beta_end, self.zero_terminal_snr
        )

    def level(self, index: Int[Array, " batch"]) -> Level:
        """The levels of a batch of times, 0 (least noisy) to num_train_steps - 1; -1 is clean."""
        return self.table.level(index)

    def to_network(self, unit: Image) -> Image:
        """Pictures in [0, 1] in the network's range."""
        low, high = self.data_range
        return jnp.asarray(unit, jnp.float32) * (high - low) + low

    def to_unit(self, x: Image) -> Image:
        """The network's range as [0, 1], clipped."""
        low, high = self.data_range
        return jnp.clip((x - low) / (high - low), 0.0, 1.0)

    def add_noise(self, x0: Image, eps: Image, level: Level) -> Image:
        """x_t = alpha x0 + sigma eps."""
        return prediction.add_noise(x0, eps, level)

    def target(self, x0: Image, eps: Image, level: Level) -> Image:
        """What the network should output at this level."""
        return prediction.target(x0, eps, level, self.prediction)

    def log_snr(self, level: Level) -> Float[Array, " batch"]:
        """log(alpha^2 / sigma^2), kept finite (|.| <= 40) for loss weights."""
        alpha, sigma = jnp.asarray(level.alpha), jnp.asarray(level.sigma)
        return jnp.clip(2 * (jnp.log(jnp.maximum(alpha, 1e-20)) - jnp.log(jnp.maximum(sigma, 1e-20))), -40, 40)

    def denoise_fn(self, network: NetworkFn) -> DenoiseFn:
        """The DenoiseFn of a network; clips x0 if clip_x0, and guidance goes under the clipping by itself.

        Give the network as jax.tree_util.Partial(apply, params) for fast repeated calls of `sweep`:
        it is then compiled once, with the parameters as an argument.
        """
        raw = prediction.NetworkDenoiser(network, self.prediction, self.table)
        return (
            prediction.Clipped(raw, *(self.clip_range or self.data_range), self.clip_keeps_eps) if self.clip_x0 else raw
        )
