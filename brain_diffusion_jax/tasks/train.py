"""The one way to train a model of any kind from a whole config."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from brain_diffusion_jax.config import load_config
from brain_diffusion_jax.config.defaults import reads_of
from brain_diffusion_jax.contract import Contract
from brain_diffusion_jax.data.shards import reader
from brain_diffusion_jax.data.shards.loader import Loader, read_conditions
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.tasks.run_config import RunConfig
from brain_diffusion_jax.tasks.spec import DataInfo, Loading, spec_of
from brain_diffusion_jax.training.devices import host
from brain_diffusion_jax.training.fit import Outcome, RunData, RunRecord, fit


def train(
    config: ConfigDict, run: str | Path | None = None, *, show_progress: bool = True, profile_steps: int = 0
) -> Outcome:
    """Train the model of a config, of the kind that it names, on its shards in folder `run`, or go on there.

    run: None is runs/NAME of the config, with the suffix of its kind. profile_steps: length of a trace (0: none).
    """
    declared = spec_of(config, "config")
    given = declared.read(config)
    contract = _contract(given)
    settings = declared.settings(given)
    loading = declared.loading(given, contract.schema)
    # Nothing before this starts JAX.
    host.prepare(
        loading.batch_size,
        accumulation=settings.accumulation,
        data_parallel=settings.data_parallel,
        fsdp=settings.fsdp,
    )
    data = DataInfo(contract.schema, contract.image_size, given.data.shards, channels=contract.channels)
    resolved = declared.resolve(given, data)
    shards = declared.shards(resolved, data)
    data = replace(data, validation=validation_arrays(shards, loading))
    task = declared.build(resolved, data)
    loader = _loader(shards, given.seed, declared.section, loading)
    record = RunRecord(declared.record(resolved), contract, declared.kept, given.seed, show_progress, profile_steps)
    run = Path(run or default_run(config))
    outcome = fit(task, run, RunData(loader, loading.batch_size, data.validation), settings, record)
    if not outcome.exit_code and jax.process_index() == 0:
        declared.finish(run, data)
    return outcome


def default_run(config: ConfigDict) -> Path:
    """Where a model of this config is trained that was told no folder: runs/NAME, with the suffix of its kind."""
    return Path("runs") / f"{config.name}{spec_of(config, 'config').suffix}"


def open_config(
    path: str | Path, overrides: Sequence[str] = (), kind: str | None = None, *, planning: bool = False
) -> ConfigDict:
    """The config of a run of that kind (None: the file's), which refuses what no run of the kind reads.

    A run is used from other folders too, so that its config names the shards by their whole path. planning: sizes of
    the data are the config's where there are no shards. Raises InputError where neither says a kind and the data are
    volumes: the diffusion model that is meant then is one of slices, of another size by far.
    """
    if kind is None:
        _refuse_no_kind(path)
    config = load_config(path, () if planning else overrides, kind=kind or "")
    if planning:
        sizes = ("kind", "grid", "spacing_mm", "fit.size", "volume.size", "volume.offset", "volume.spacing_mm")
        reads = (*reads_of(config.kind), "covariates", *(f"prepare.{key}" for key in sizes))
        planned = load_config(path, overrides, reads=reads)
        with planned.unlocked():
            planned.kind = config.kind
        config = planned
    if config.data.shards:
        config.data.shards = str(Path(config.data.shards).absolute())
    return config


def _refuse_no_kind(path: str | Path) -> None:
    config = load_config(path)
    if not config.get("kind") and config.get("prepare", {}).get("kind") == "volumes":
        expected = f'a config of one: base_config("autoencoder", prepared_as="{path}"), or another kind'
        raise InputError(path, "kind", "none, and prepare.kind=volumes", expected)


def _contract(config: RunConfig) -> Contract:
    """The contract of config.data.shards; refuses a config that names none."""
    if not config.data.shards:
        raise InputError("config", "data.shards", "nothing", "a folder written by `brain-diffusion prepare`")
    return Contract.load(config.data.shards)


def _loader(shards: str, seed: int, section: str, loading: Loading) -> Loader:
    """The endless loader of this process's part of the training split; a batch beyond the data is refused."""
    loader = Loader(
        shards,
        "train",
        batch_size=loading.batch_size,
        seed=seed,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
        mirror=loading.mirror,
        class_balance=loading.class_balance,
    )
    if loading.batch_size > len(loader):
        expected = f"at most the {len(loader)} images of the training split"
        raise InputError("config", f"{section}.batch_size", loading.batch_size, expected)
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
