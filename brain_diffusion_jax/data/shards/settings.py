"""Which shards a run trains on, and how it takes batches from them: section `data` of a config."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Shards:
    """shards: the folder that `prepare` wrote."""

    shards: str = ""


@dataclass(frozen=True)
class BalancedShards(Shards):
    """class_balance: a categorical covariate of which a batch sees every category alike often; None: as they come."""

    class_balance: str | None = None


@dataclass(frozen=True)
class BatchedShards(BalancedShards):
    """batch_size: of all devices together. mirror: probability of a left-right flip."""

    batch_size: int = 16
    mirror: float = 0.0
