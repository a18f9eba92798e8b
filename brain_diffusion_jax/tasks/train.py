"""The one way to train a model of any kind from a whole config, and to know beforehand what it would cost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from brain_diffusion_jax.config import load_config, to_json
from brain_diffusion_jax.config.defaults import reads_of
from brain_diffusion_jax.contract import Contract
from brain_diffusion_jax.covariates import Schema
from brain_diffusion_jax.data.shards import reader
from brain_diffusion_jax.data.shards.loader import Loader, read_conditions
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.tasks.spec import DataInfo, Loading, TaskSpec, spec
from brain_diffusion_jax.training import state
from brain_diffusion_jax.training.devices import estimate, host, mesh
from brain_diffusion_jax.training.fit import Outcome, RunData, RunRecord, fit
from brain_diffusion_jax.training.settings import TrainSettings


def train(config: Any, run: str | Path, *, show_progress: bool = True, profile_steps: int = 0) -> Outcome:
    """Train the model of a config, of the kind that it names, on its shards in folder `run`, or go on there.

    profile_steps: length of a trace (0: none).
    """
    declared = spec(kind_of(config))
    batch_size = config[declared.section].batch_size
    host.prepare(
        batch_size,
        accumulation=config.train.accumulation,
        data_parallel=config.train.data_parallel,
        fsdp=config.train.fsdp,
    )
    contract = _contract(config)
    settings = declared.settings(config)
    loading = declared.loading(config, contract.schema)
    validation = validation_arrays(config.data.shards, loading)
    data = DataInfo(contract.schema, tuple(contract.image_size), config.data.shards, validation, contract.channels)
    task = declared.build(config, data)
    loader = _loader(config, declared, loading)
    record = RunRecord(to_json(config), contract, declared.kept, config.seed, show_progress, profile_steps)
    return fit(task, run, RunData(loader, batch_size, validation), settings, record)


def open_config(
    path: str | Path, overrides: Sequence[str] = (), kind: str | None = None, *, planning: bool = False
) -> ConfigDict:
    """The config of a run of that kind (None: the file's), which refuses what no run of the kind reads.

    A run is used from other folders too, so that its config names the shards by their whole path. planning: sizes of
    the data are the config's where there are no shards.
    """
    config = load_config(path, () if planning else overrides, kind=kind or "")
    if planning:
        reads = (*reads_of(config.kind), "covariates", "prepare.fit.size")
        planned = load_config(path, overrides, reads=reads)
        with planned.unlocked():
            planned.kind = config.kind
        config = planned
    if config.data.shards:
        config.data.shards = str(Path(config.data.shards).absolute())
    return config


def kind_of(config: Any) -> str:
    """The kind that a config names; one that names none is of a diffusion model."""
    return config.get("kind") or "diffusion"


def _contract(config: Any) -> Contract:
    """The contract of config.data.shards; refuses a config that names none."""
    if not config.data.shards:
        raise InputError("config", "data.shards", "nothing", "a folder written by `brain-diffusion prepare`")
    return Contract.load(config.data.shards)


def _loader(config: Any, declared: TaskSpec, loading: Loading) -> Loader:
    """The endless loader of this process's part of the training split; a batch beyond the data is refused."""
    batch_size = config[declared.section].batch_size
    loader = Loader(
        config.data.shards,
        "train",
        batch_size=batch_size,
        seed=config.seed,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
        mirror=loading.mirror,
        class_balance=loading.class_balance,
    )
    if batch_size > len(loader):
        expected = f"at most the {len(loader)} pictures of the training split"
        raise InputError("config", f"{declared.section}.batch_size", batch_size, expected)
    return loader


def validation_arrays(shards: str, loading: Loading) -> dict[str, np.ndarray] | None:
    """Evenly spaced examples of the validation split, stacked; None if there are none."""
    if "validation" not in reader.load_manifest(shards)["splits"]:
        return None
    source = reader.open_split(shards, "validation")
    rows = np.arange(len(source))
    if loading.labelled is not None:
        _, present = read_conditions(source, len(source.contract.schema.names))
        rows = rows[present[:, loading.labelled]]
    count = min(loading.validation_samples, len(rows))
    if not count:
        return None
    chosen = np.unique(np.linspace(0, len(rows) - 1, count).astype(int))
    return source.batch(rows[chosen].tolist())


def plan(config: Any, mesh_text: str = "") -> estimate.Estimate:
    """What a step of a config would cost; sizes from the shards, or from the config where there are none.

    mesh_text: devices as "DATAxFSDP"; "": those of the config.
    """
    declared = spec(kind_of(config))
    if config.data.shards:
        contract = Contract.load(config.data.shards)
        known = DataInfo(contract.schema, contract.image_size, config.data.shards, channels=contract.channels)
    else:
        known = DataInfo(Schema.from_json(config.covariates), tuple(config.prepare.fit.size or (109, 91)))
    settings = declared.settings(config)
    data, fsdp = parse_mesh(mesh_text, settings)
    batch = config[declared.section].batch_size
    mesh.require_divisible(batch, data * fsdp, settings.accumulation, 1)
    task = declared.build(config, known)
    example = {
        "image": jax.ShapeDtypeStruct((batch, *known.shape), "uint8"),
        "values": jax.ShapeDtypeStruct((batch, len(known.schema.names)), "float32"),
        "present": jax.ShapeDtypeStruct((batch, len(known.schema.names)), "bool"),
        "index": jax.ShapeDtypeStruct((batch,), "int32"),
    }
    return estimate.estimate(
        lambda key: state.create(task.init(key), task.optimizer, settings.power_ema),
        task.make_loss(None),
        example,
        data=data,
        fsdp=fsdp,
        accumulation=settings.accumulation,
    )


def parse_mesh(text: str, settings: TrainSettings) -> tuple[int, int]:
    """(data, fsdp) of "8x4", or of the settings where text is empty."""
    if not text:
        return max(settings.data_parallel, 1), settings.fsdp
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(p.isdigit() and int(p) > 0 for p in parts):
        raise InputError("command line", "--mesh", text, "DATAxFSDP, such as 8x4")
    return int(parts[0]), int(parts[1])
