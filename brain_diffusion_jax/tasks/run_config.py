"""What the config of every kind holds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RunConfig:
    """name: of the run, and of its default folder. seed: of every random draw of the training."""

    name: str = "run"
    seed: int = 0
