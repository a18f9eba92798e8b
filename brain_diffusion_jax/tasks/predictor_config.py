"""How a network that reads images learns: what the sections `age_model` and `class_model` have in common."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PredictorSettings:
    """ema_decay: low, since batch statistics must fit the averaged weights. A checkpoint follows every validation."""

    learning_rate: float = 2e-3
    weight_decay: float = 0.01
    ema_decay: float = 0.9
    batch_size: int = 48
    num_steps: int = 3000
    validate_every: int = 250
