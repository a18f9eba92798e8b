"""The real images that are set beside those of a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from brain_diffusion_jax.contract import Contract, require_same
from brain_diffusion_jax.data.shards.loader import read_all
from brain_diffusion_jax.data.shards.reader import load_manifest
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation.image_set import ImageSet, from_records


class TrainedModel(Protocol):
    """An opened run. contract: None for foreign weights without one."""

    path: Path

    @property
    def config(self) -> Any:
        """The settings of the run, of which data.shards is read."""
        ...

    @property
    def contract(self) -> Contract | None:
        """The data that it was trained on."""
        ...


def open_real(model: TrainedModel, data: str | Path | None) -> tuple[str, Contract, dict[str, ImageSet]]:
    """(shards, their contract, ImageSet of every split) of --data, else of the run; refuses another contract."""
    shards = str(data or model.config.data.shards)
    if not shards:
        raise InputError("command line", "--data", "nothing", "the folder of shards with the real people")
    if not data and not Path(shards).is_absolute() and not Path(shards).exists():  # runs of release 0.1
        found = f"{shards}, seen from the folder that training was started in"
        raise InputError(model.path / "config.json", "data.shards", found, "--data FOLDER, or to be started there")
    contract = Contract.load(shards)
    if model.contract is not None:
        require_same(model.contract, contract, f"{model.path} against {shards}")
    return shards, contract, read_real(shards, contract)


def read_real(shards: str, contract: Contract) -> dict[str, ImageSet]:
    """Every split of the shards as a ImageSet; an empty split is left out."""
    sets = {}
    for split, files in load_manifest(shards)["splits"].items():
        if sum(int(item["records"]) for item in files):
            sets[split] = from_records(read_all(shards, split), contract.schema)
    return sets


def people_of(model: TrainedModel, data: str | Path | None, split: str) -> ImageSet:
    """The ImageSet of --people, its conditions as a person would write them (float32 rounded off)."""
    shards, _, splits = open_real(model, data)
    if split not in splits:
        raise InputError(shards, "--people", split, f"one of {', '.join(splits)}")
    found = splits[split]
    tidy = [{k: v if isinstance(v, str) else round(float(v), 4) for k, v in c.items()} for c in found.conditions]
    return ImageSet(found.images, tidy, found.people)
