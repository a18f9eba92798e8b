"""What the training commands share: their arguments, the shards' contract, the loader, held-out pictures."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_arguments(parser: argparse.ArgumentParser, suffix: str = "", *, report: bool = False) -> None:
    """suffix: of the default run folder. report: the command ends with a report that --json prints."""
    parser.add_argument("config", help="a configs/*.py file, or a run folder")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="changes to the config")
    parser.add_argument("--run", type=Path, help=f"run folder (default: runs/NAME{suffix} of the config)")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    if report:
        parser.add_argument("--json", action="store_true", help="print the report as JSON and nothing else")


def load(arguments: argparse.Namespace, kind: str, *more: str) -> Any:
    """What runs of `kind` read of the config of a training command; refuses overrides of anything else.

    more: read too; then the whole config comes. A run is used from other folders too, so that its config names the
    shards by their whole path.
    """
    from brain_diffusion_jax.config import load_config
    from brain_diffusion_jax.config.defaults import reads_of

    if more:
        reads = (*reads_of(kind), *more)
        config = load_config(arguments.config, arguments.overrides, reads=reads)
    else:
        config = load_config(arguments.config, arguments.overrides, kind=kind)
    if config.data.shards:
        config.data.shards = str(Path(config.data.shards).absolute())
    return config


def shards_contract(config: Any) -> Any:
    """The contract of config.data.shards; refuses a config that names none."""
    from brain_diffusion_jax.contract import Contract
    from brain_diffusion_jax.errors import InputError

    if not config.data.shards:
        raise InputError("config", "data.shards", "nothing", "a folder written by `brain-diffusion prepare`")
    return Contract.load(config.data.shards)


def prepare_host(config: Any, section: str) -> None:
    """Compile cache, allocator and CPU devices, before JAX starts. section: of the batch_size, as in `make_loader`."""
    from brain_diffusion_jax.training.devices import host

    train = config.train
    host.prepare(
        config[section].batch_size,
        accumulation=train.accumulation,
        data_parallel=train.data_parallel,
        fsdp=train.fsdp,
    )


def make_loader(config: Any, section: str, *, mirror: float = 0.0, class_balance: str | None = None) -> Any:
    """The endless loader of this process's part of the training split; a batch beyond the data is refused.

    section: name of the config section whose batch_size holds.
    """
    import jax

    from brain_diffusion_jax.data.shards.loader import Loader
    from brain_diffusion_jax.errors import InputError

    batch_size = config[section].batch_size
    loader = Loader(
        config.data.shards,
        "train",
        batch_size=batch_size,
        seed=config.seed,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
        mirror=mirror,
        class_balance=class_balance,
    )
    if batch_size > len(loader):
        expected = f"at most the {len(loader)} pictures of the training split"
        raise InputError("config", f"{section}.batch_size", batch_size, expected)
    return loader


def validation_arrays(config: Any, count: int) -> dict[str, Any] | None:
    """Up to `count` evenly spaced examples of the validation split, stacked; None if there is no such split."""
    import numpy as np

    from brain_diffusion_jax.data.shards import reader

    if "validation" not in reader.load_manifest(config.data.shards)["splits"]:
        return None
    source = reader.open_split(config.data.shards, "validation")
    if not len(source) or not count:
        return None
    return source.batch(np.unique(np.linspace(0, len(source) - 1, min(count, len(source))).astype(int)).tolist())
