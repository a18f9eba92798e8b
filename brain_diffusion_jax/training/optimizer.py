"""Optax optimizers and learning-rate schedules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax

from brain_diffusion_jax.array_types import SCANNED_BLOCKS, SCANNED_LAYERS, Params
from brain_diffusion_jax.errors import InputError, nearest
from brain_diffusion_jax.training.task import Plateau

SCHEDULES = ("cosine", "constant", "plateau")


@dataclass(frozen=True)
class OptimizerSettings:
    """The section `optimizer` of a config. clip_norm 0: no clipping. betas: (b1, b2) or (momentum,).

    schedule: after the warm-up, cosine to end_fraction * learning_rate, constant, or plateau
    (constant, times plateau_factor whenever `plateau_patience` validations bring nothing better).
    """

    name: str = "adamw"
    learning_rate: float = 2e-4
    weight_decay: float = 0.01
    betas: tuple[float, ...] = (0.9, 0.999)
    eps: float = 1e-8
    warmup_steps: int = 200
    schedule: str = "cosine"
    end_fraction: float = 0.01
    clip_norm: float = 1.0
    plateau_factor: float = 0.5
    plateau_patience: int = 5

    def __post_init__(self) -> None:
        if self.name not in OPTIMIZERS:
            raise InputError("config", "optimizer.name", self.name, nearest(self.name, OPTIMIZERS))
        if self.schedule not in SCHEDULES:
            raise InputError("config", "optimizer.schedule", self.schedule, f"one of {', '.join(SCHEDULES)}")
        if not self.learning_rate > 0:
            raise InputError("config", "optimizer.learning_rate", self.learning_rate, "a number above 0")


def _own_rank(path: tuple[Any, ...], parameter: Any) -> int:
    """Axes of a parameter without those along which nn.scan stacks it, one a module of that kind around it."""
    return int(jnp.ndim(parameter)) - sum(str(key.key) in (SCANNED_BLOCKS, SCANNED_LAYERS) for key in path)


def _decayed(params: Params) -> Any:
    """Weight decay is for matrices and kernels, not for biases and norms."""
    return jax.tree_util.tree_map_with_path(lambda path, p: _own_rank(path, p) > 1, params)


def _as_matrices(params: Params) -> Any:
    """Kernels [*sizes, c, d] are matrices [sizes * c, d] to Muon, stacked ones each by itself; the rest is Adam's."""

    def axes(path: tuple[Any, ...], parameter: Any) -> optax.contrib.MuonDimensionNumbers | None:
        if path[-1].key != "kernel":
            return None
        last = int(jnp.ndim(parameter)) - 1
        return optax.contrib.MuonDimensionNumbers(tuple(range(last + 1 - _own_rank(path, parameter), last)), last)

    return jax.tree_util.tree_map_with_path(axes, params)


# Five equal iterations, one by one: optax loops over a list, and writes a single triple out five times a kernel.
_NEWTON_SCHULZ = ((3.4445, -4.7750, 2.0315),) * 5


def _muon(settings: OptimizerSettings, rate: optax.Schedule) -> optax.GradientTransformation:
    """Muon (Jordan et al. 2024) for kernels of every rank, its updates as large as Adam's (Liu et al. 2025, eq. 4)."""
    return optax.contrib.muon(
        rate,
        ns_coeffs=_NEWTON_SCHULZ,
        beta=0.95,
        weight_decay=settings.weight_decay,
        adam_b1=settings.betas[0],
        adam_b2=settings.betas[-1],
        muon_weight_dimension_numbers=_as_matrices,
        consistent_rms=0.2,
    )


Build = Callable[["OptimizerSettings", optax.Schedule], optax.GradientTransformation]
OPTIMIZERS: dict[str, Build] = {
    "adam": lambda s, lr: optax.adam(lr, *s.betas, eps=s.eps),
    "adamw": lambda s, lr: optax.adamw(lr, *s.betas, eps=s.eps, weight_decay=s.weight_decay, mask=_decayed),
    "lion": lambda s, lr: optax.lion(lr, *s.betas, weight_decay=s.weight_decay, mask=_decayed),
    "muon": _muon,
    "sgd": lambda s, lr: optax.sgd(lr, momentum=s.betas[0]),
    "rmsprop": lambda s, lr: optax.rmsprop(lr, decay=s.betas[-1], eps=s.eps),
    "adafactor": lambda s, lr: optax.adafactor(lr, weight_decay_rate=s.weight_decay or None),
}


def learning_rate(settings: OptimizerSettings, num_steps: int) -> optax.Schedule:
    """step -> learning rate: linear warm-up from 1/warmup_steps of it, then settings.schedule up to num_steps."""
    warmup = min(settings.warmup_steps, max(num_steps - 1, 0))
    peak = settings.learning_rate
    if settings.schedule == "cosine":
        after = optax.cosine_decay_schedule(peak, max(num_steps - warmup, 1), alpha=settings.end_fraction)
    else:
        after = optax.constant_schedule(peak)
    if not warmup:
        return after
    # From peak/warmup, not 0: a first step that changes nothing is a step lost.
    return optax.join_schedules([optax.linear_schedule(peak / warmup, peak, warmup), after], [warmup])


def make(settings: OptimizerSettings, num_steps: int) -> optax.GradientTransformation:
    """Clipping by global norm, then the named optax optimizer with its schedule."""
    optimizer = OPTIMIZERS[settings.name](settings, learning_rate(settings, num_steps))
    if settings.clip_norm > 0:
        return optax.chain(optax.clip_by_global_norm(settings.clip_norm), optimizer)
    return optimizer


def recipe(settings: OptimizerSettings, num_steps: int) -> dict[str, Any]:
    """Fields of a Task for a run of num_steps: optimizer, learning_rate and plateau."""
    patience = settings.plateau_patience if settings.schedule == "plateau" else 0
    return {
        "optimizer": make(settings, num_steps),
        "learning_rate": learning_rate(settings, num_steps),
        "plateau": Plateau(patience, settings.plateau_factor),
    }
