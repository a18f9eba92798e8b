"""All that the training loop sees of a kind of model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import optax

from brain_diffusion_jax.array_types import Key, Params
from brain_diffusion_jax.training.step import Batch, LossFn

# (params, model_state, batch, key) -> {name: [b]}; "validation_loss" must be among the names.
MeasureFn = Callable[[Params, Any, Batch, Key], Mapping[str, jax.Array]]


@dataclass(frozen=True)
class Plateau:
    """The learning rate is multiplied by `factor` after `patience` validations without a better loss (0: never)."""

    patience: int = 0
    factor: float = 0.5


NO_PLATEAU = Plateau()


@dataclass(frozen=True)
class Task:
    """What is trained. init(key) -> variables {"params", ...}; measure: for validation.

    kind: of the run folder. make_loss(axis_name): a loss as in `step`; axis_name
    is the mapped axis under pmap, for networks that average over the batch, else None.
    optimizer: optax; learning_rate(step): what it uses, for the log; plateau: see Plateau.
    known: batch -> bool [b], samples whose label is known; None: all samples count alike. preview: averaged
    parameters -> uint8 image [rows, cols] for the eye; None: nothing to show. guard: told the step and the means of
    every validation; it raises InputError where the training is of no use; None: nothing is asked.
    """

    kind: str
    init: Callable[[Key], dict[str, Any]]
    make_loss: Callable[[str | None], LossFn]
    measure: MeasureFn
    optimizer: optax.GradientTransformation
    learning_rate: optax.Schedule
    plateau: Plateau = NO_PLATEAU
    known: Callable[[Batch], jax.Array] | None = None
    preview: Callable[[Params], np.ndarray] | None = None
    guard: Callable[[int, Mapping[str, float]], None] | None = None
