"""Editing given images: from an intermediate level, inside a mask, or through an inversion.

Everything works in the network's range; levels are as of `levels.select`, noisiest first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from brain_diffusion_jax.array_types import Condition, DenoiseFn, Image, Key, Level
from brain_diffusion_jax.diffusion.prediction import add_noise
from brain_diffusion_jax.diffusion.samplers.base import BoundDenoiseFn, Sampler, as_pairs, gaussian, run, sample_keys
from brain_diffusion_jax.diffusion.samplers.euler import Euler
from brain_diffusion_jax.errors import InputError

_EDIT_STREAM = 2**31 - 2  # a noise stream of its own, next to those of `run` and `initial_noise`


def start_at(levels: Level, strength: float) -> Level:
    """The last round(strength n) steps of levels [n + 1]; strength: 0 (no step left) to 1 (all), else InputError."""
    if not 0 <= strength <= 1:
        raise InputError("edit", "strength", strength, "0 to 1")
    steps = len(levels.t) - 1
    return Level(*(v[steps - round(strength * steps) :] for v in levels))


def img2img(
    sampler: Sampler,
    denoise: DenoiseFn,
    levels: Level,
    x0: Image,
    strength: float,
    condition: Condition | None,
    key: Key,
) -> Image:
    """x0 noised to an intermediate level and sampled from there (SDEdit, Meng et al. 2022).

    strength: 0 returns x0 itself, 1 keeps nothing of it (with a schedule that ends in noise).
    """
    path = start_at(levels, strength)
    if len(path.t) == 1:
        return x0
    noise = _edit_noise(sample_keys(key, x0.shape[0]), x0)
    x = add_noise(x0, noise, Level(*(v[0] for v in path)))
    return run(sampler, denoise, x, path, condition, key)


def _edit_noise(keys: Key, x: Image) -> Image:
    return gaussian(jax.vmap(lambda k: jax.random.fold_in(k, _EDIT_STREAM))(keys), x)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Inpaint:
    """Any sampler, with the known part put back after every step at the level reached (RePaint, Lugmayr et al. 2022).

    known: [batch, *spatial, channels]; mask: broadcasts to it, 1 where to sample, 0 where known. With
    inner=Restart(...) it also goes back up, RePaint's resampling.
    """

    inner: Any
    known: Image
    mask: Float[Array, ...]

    def visits(self, num_steps: int) -> Any:
        """Positions in the levels, in the order of the inner sampler."""
        order = getattr(self.inner, "visits", None)
        return jnp.arange(num_steps + 1) if order is None else order(num_steps)

    def init(self, x: Image) -> PyTree:
        """The carry of the inner sampler."""
        return self.inner.init(x)

    def step(
        self, denoise: BoundDenoiseFn, x: Image, level: Level, next_level: Level, carry: PyTree, keys: Key
    ) -> tuple[Image, PyTree]:
        """A step of the inner sampler; then, where mask is 0, `known` with fresh noise of next_level."""
        x, carry = self.inner.step(denoise, x, level, next_level, carry, keys)
        known = add_noise(self.known, _edit_noise(keys, x), next_level)
        return self.mask * x + (1 - self.mask) * known, carry


def inpaint(
    sampler: Sampler,
    denoise: DenoiseFn,
    levels: Level,
    x_init: Image,
    known: Image,
    mask: Float[Array, ...],
    condition: Condition | None,
    key: Key,
) -> Image:
    """Samples equal to `known` where mask is 0, new where it is 1. x_init: noise at levels[0]."""
    return run(Inpaint(sampler, known, mask), denoise, x_init, levels, condition, key)


def _pairs_up(levels: Level, dtype: Any) -> tuple[Level, Level]:
    """(cleaner, noisier) of every step, the cleanest first."""
    noisier, cleaner = jax.tree.map(lambda v: v[::-1], as_pairs(levels, dtype))
    return cleaner, noisier


def ddim_invert(
    denoise: DenoiseFn, levels: Level, x0: Image, condition: Condition | None, iterations: int = 1
) -> Image:
    """The x at levels[0] from which deterministic DDIM comes back to x0 (Song et al. 2021, sec. 4.3).

    Each step solves x_s = DDIM(x_t) for x_t by `iterations` fixed-point rounds (Pan et al. 2023, AIDI): 1 is the
    usual inversion, which takes eps at the wrong end of the step; more rounds converge to the exact inverse.
    One network call a round.
    """
    if iterations < 1:
        raise InputError("edit", "iterations", iterations, "at least 1")

    def body(x: Image, at: tuple[Level, Level]) -> tuple[Image, None]:
        cleaner, noisier = at

        def refine(_: Any, guess: Image) -> Image:
            eps = denoise(guess, noisier, condition).eps
            return noisier.alpha / cleaner.alpha * (x - cleaner.sigma * eps) + noisier.sigma * eps

        return jax.lax.fori_loop(0, iterations, refine, x), None

    return jax.lax.scan(body, x0, _pairs_up(levels, x0.dtype))[0]


def _coefficients(level: Level, next_level: Level) -> tuple[Array, Array]:
    """(a, b) of DDIM as a x + b eps."""
    a = next_level.alpha / level.alpha
    return a, next_level.sigma - a * level.sigma


def edict_generate(
    denoise: DenoiseFn, levels: Level, pair: tuple[Image, Image], condition: Condition | None, mixing: float = 0.93
) -> tuple[Image, Image]:
    """Two coupled DDIM trajectories, each stepping with the other's eps (EDICT, Wallace et al. 2023, eq. 12-14).

    pair: both at levels[0], e.g. twice the same noise. Two network calls a step. Exactly undone by
    `edict_invert`. Needs a schedule that does not end in pure noise (alpha > 0).
    """

    def body(pair: tuple[Image, Image], at: tuple[Level, Level]) -> tuple[tuple[Image, Image], None]:
        (x, y), (level, next_level) = pair, at
        a, b = _coefficients(level, next_level)
        x = a * x + b * denoise(y, level, condition).eps
        y = a * y + b * denoise(x, level, condition).eps
        x = mixing * x + (1 - mixing) * y
        y = mixing * y + (1 - mixing) * x
        return (x, y), None

    return jax.lax.scan(body, pair, as_pairs(levels, pair[0].dtype))[0]


def edict_invert(
    denoise: DenoiseFn, levels: Level, x0: Image, condition: Condition | None, mixing: float = 0.93
) -> tuple[Image, Image]:
    """The pair at levels[0] that `edict_generate` takes back to (x0, x0), algebraically exact (eq. 15)."""
    if not 0 < mixing <= 1:
        raise InputError("edit", "mixing", mixing, "above 0, up to 1")

    def body(pair: tuple[Image, Image], at: tuple[Level, Level]) -> tuple[tuple[Image, Image], None]:
        (x, y), (cleaner, level) = pair, at
        a, b = _coefficients(level, cleaner)
        y = (y - (1 - mixing) * x) / mixing
        x = (x - (1 - mixing) * y) / mixing
        y = (y - b * denoise(x, level, condition).eps) / a
        x = (x - b * denoise(y, level, condition).eps) / a
        return (x, y), None

    return jax.lax.scan(body, (x0, x0), _pairs_up(levels, x0.dtype))[0]


def invert(
    denoise: DenoiseFn, path: Level, x0: Image, condition: Condition, method: str = "edict", iterations: int = 5
) -> PyTree:
    """What `regenerate` takes back to x0 under the same condition. path: levels as of `start_at`.

    method: "edict" (exact, two network calls a step) or "ddim" (`iterations` of a fixed point); InputError for another.
    """
    if method == "edict":
        return edict_invert(denoise, path, x0, condition)
    if method != "ddim":
        raise InputError("edit", "method", method, "edict or ddim")
    return ddim_invert(denoise, path, x0, condition, iterations)


def regenerate(denoise: DenoiseFn, path: Level, inverted: PyTree, target: Condition, method: str = "edict") -> Image:
    """The image under `target` of what `invert` made by the same method along the same path."""
    if method == "edict":
        return edict_generate(denoise, path, inverted, target)[0]
    return run(Euler(), denoise, inverted, path, target, jax.random.key(0))  # which draws nothing


def edit_condition(
    denoise: DenoiseFn,
    levels: Level,
    x0: Image,
    condition: Condition,
    target: Condition,
    *,
    strength: float = 1.0,
    method: str = "edict",
    iterations: int = 5,
) -> Image:
    """x0 as it would look under another condition: inverted under `condition`, generated under `target`.

    method: "edict" (exact: nothing changes when target equals condition) or "ddim" (fixed-point inversion).
    strength: how far to invert, 0 (x0 itself) to 1. denoise: best without clipping. Raises InputError for another
    method and a strength outside its range.
    """
    path = start_at(levels, strength)
    return regenerate(denoise, path, invert(denoise, path, x0, condition, method, iterations), target, method)
