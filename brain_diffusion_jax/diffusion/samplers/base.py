"""The loop that drives every sampler, and the noise that it draws.

A sampler is a frozen dataclass registered as a pytree, so that an option such as eta may be traced and swept.
Its step moves x from `level` to `next_level`; `carry` holds what it keeps from step to step.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from brain_diffusion_jax.array_types import Condition, DenoiseFn, Image, Key, Level, Prediction
from brain_diffusion_jax.diffusion import memory
from brain_diffusion_jax.errors import InputError


class BoundDenoiseFn(Protocol):
    """A DenoiseFn whose condition is already given."""

    def __call__(self, x: Image, level: Level) -> Prediction: ...


class Sampler(Protocol):
    """What `run` needs of a sampler.

    Optional members: visits(num_steps) -> positions in the levels, for a sampler that does not go straight down.
    LIMITS {option: (low, high)}, CHOICES {option: allowed values} and INTERVAL (lower option, upper option) are
    checked by `samplers.get`.
    """

    def init(self, x: Image) -> PyTree:
        """The carry before the first step; () for none."""
        ...

    def step(
        self, denoise: BoundDenoiseFn, x: Image, level: Level, next_level: Level, carry: PyTree, keys: Key
    ) -> tuple[Image, PyTree]:
        """(x at next_level, new carry). level, next_level: scalars. keys: [batch], new each step, for `gaussian`."""
        ...


class Memoryless(ABC):
    """Base of the samplers that carry nothing from step to step; they define `move`."""

    def init(self, x: Image) -> tuple[()]:
        """(): an empty carry."""
        return ()

    def step(
        self, denoise: BoundDenoiseFn, x: Image, level: Level, next_level: Level, carry: tuple[()], keys: Key
    ) -> tuple[Image, tuple[()]]:
        """`move`, and the empty carry."""
        return self.move(denoise, x, level, next_level, keys), carry

    @abstractmethod
    def move(self, denoise: BoundDenoiseFn, x: Image, level: Level, next_level: Level, keys: Key) -> Image:
        """x at next_level, by the formula of the class."""


def typed_key(key: Key) -> Key:
    """`key` with a PRNG dtype; raw uint32 keys of jax.random.PRNGKey are wrapped."""
    return key if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else jax.random.wrap_key_data(key)


def sample_keys(key: Key, batch: int) -> Key:
    """One key a sample. A single key is folded with the sample's position; [batch] keys pass as they are.

    Sample i therefore gets the same noise in a batch of any size.
    """
    key = typed_key(key)
    return key if key.ndim else jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(batch))


def gaussian(keys: Key, x: Image) -> Image:
    """Standard normal noise like x: [batch, *spatial, channels], one key a sample."""
    return jax.vmap(lambda key: jax.random.normal(key, x.shape[1:], x.dtype))(keys)


def initial_noise(key: Key, shape: tuple[int, ...], levels: Level | None = None) -> Image:
    """x at the noisiest level, float32 [batch, *spatial, channels]; levels: scales it for schedules beyond [0, 1].

    Independent of the noise that `run` draws with the same key.
    """
    keys = jax.vmap(lambda k: jax.random.fold_in(k, 2**31 - 1))(sample_keys(key, shape[0]))
    x = jax.vmap(lambda k: jax.random.normal(k, shape[1:]))(keys)
    if levels is None:
        return x
    alpha, sigma = jnp.asarray(levels.alpha)[0], jnp.asarray(levels.sigma)[0]
    return x * jnp.sqrt(alpha**2 + sigma**2)


def as_pairs(levels: Level | tuple[Level, Level], dtype: Any) -> tuple[Level, Level]:
    """(level, next level) of every step, each [n]; from levels [n + 1], or pairs given as such.

    Pairs need not join: MONAI's DDIM steps from linspace points by a fixed stride.
    """
    levels = jax.tree.map(lambda v: jnp.asarray(v, dtype), levels)
    if isinstance(levels, Level):
        return Level(*(v[:-1] for v in levels)), Level(*(v[1:] for v in levels))
    return levels


def run(
    sampler: Sampler,
    denoise: DenoiseFn,
    x_init: Image,
    levels: Level | tuple[Level, Level],
    condition: Condition | None,
    key: Key,
    *,
    trajectory: bool = False,
    unroll_first: bool = False,
) -> Image | Float[Array, "steps batch *spatial channels"]:
    """Samples from x_init, which is at levels[0], down to levels[-1].

    x_init: [batch, *spatial, channels]. key: one, or one a sample. trajectory: return x after every step,
    [steps, batch, ...], the last of which is the sample. unroll_first: take the first step outside the scan,
    so that a vmap over scales shares it (the network is then compiled twice). Not jitted: see `sweep`, or
    jit the caller. A denoiser that remembers (`diffusion.memory`) has its memory carried along.
    """
    keys = sample_keys(key, x_init.shape[0])
    visits = getattr(sampler, "visits", None)
    if visits is not None and isinstance(levels, Level):
        order = visits(levels.alpha.shape[0] - 1)
        levels = Level(*(jnp.asarray(v)[order] for v in levels))
    start, stop = as_pairs(levels, x_init.dtype)

    def body(state: tuple[Image, PyTree, PyTree], inputs: tuple[Array, Level, Level]) -> tuple[Any, Any]:
        x, carry, remembered = state
        index, level, next_level = inputs
        left: list[PyTree] = []  # memory after each network call, in the order the step makes them

        def bound(x: Image, level: Level) -> Prediction:
            prediction, after = memory.recall(denoise, x, level, condition, remembered)
            left.append(after)
            return prediction

        step_keys = jax.vmap(jax.random.fold_in, (0, None))(keys, index)
        x, carry = sampler.step(bound, x, level, next_level, carry, step_keys)
        return (x, carry, left[0] if left else remembered), (x if trajectory else None)

    inputs = (jnp.arange(start.alpha.shape[0]), start, stop)
    state = (x_init, sampler.init(x_init), memory.start(denoise, x_init))
    first = None
    try:
        if unroll_first:
            state, first = body(state, jax.tree.map(lambda v: v[0], inputs))
            inputs = jax.tree.map(lambda v: v[1:], inputs)
        (x, *_), path = jax.lax.scan(body, state, inputs)
    except jax.errors.UnexpectedTracerError as error:
        if not jax.tree.leaves(state[2]):
            raise
        # The first call lay inside a lax.cond or scan of the step: its memory cannot leave that.
        expected = "a sampler that calls the network outside lax.cond first, e.g. ddim"
        raise InputError("sample", "guidance with a memory", type(sampler).__name__, expected) from error
    if not trajectory:
        return x
    return path if first is None else jnp.concatenate([first[None], path])
