"""What the shard builder is told: which entry goes where, and how it is prepared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from brain_diffusion_jax.contract import Contract
from brain_diffusion_jax.data.shards.splits import SplitSpec
from brain_diffusion_jax.data.sources.source import Entry, Source


@dataclass(frozen=True)
class Plan:
    """splits: name -> entries. names: id -> file of the finished part in `parts`; empty: entries are prepared then."""

    source: Source
    contract: Contract
    split: SplitSpec
    splits: Mapping[str, Sequence[Entry]]
    parts: Path
    names: Mapping[str, str]
