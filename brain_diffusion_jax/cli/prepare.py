"""NIfTI volumes and a table of people to ArrayRecord shards with a contract beside them.

  brain-diffusion prepare configs/oasis_axial.py cohort.root=FOLDER --out shards/oasis

A killed or interrupted run continues when the same command is given again.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ml_collections import ConfigDict

    from brain_diffusion_jax.data.sources.image_source import ImageSource
    from brain_diffusion_jax.data.sources.scan_slices import ScanSlices


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", help="config file (configs/*.py)")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="changes to the config")
    parser.add_argument("--out", default="", help="folder for the shards (default: data.shards, or shards/NAME)")
    parser.add_argument("--workers", type=int, default=0, help="processes (default: one a core for 50 scans and more)")
    parser.add_argument("--json", action="store_true", help="print a summary as JSON and nothing else")
    parser.add_argument(
        "--beam",
        nargs="*",
        metavar="OPTION",
        default=None,
        help="prepare through Apache Beam, with its options as OPTION=VALUE, such as runner=DirectRunner",
    )


def run(args: argparse.Namespace) -> int:
    import signal
    import sys
    import threading
    import warnings

    from tqdm import tqdm

    before = signal.getsignal(signal.SIGINT)
    # A background job of a script ignores Ctrl-C, and goes on ignoring it.
    if before is signal.default_int_handler and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, _interrupt)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("default", UserWarning)
            # Through tqdm, or a warning would cut the bar in two.
            warnings.showwarning = lambda text, *_, **__: tqdm.write(f"warning: {text}", file=sys.stderr)
            return _prepare(args)
    finally:
        if signal.getsignal(signal.SIGINT) is _interrupt:  # after a Ctrl-C, _leave stays to the end
            signal.signal(signal.SIGINT, before)


def _interrupt(*_: object) -> None:
    """The first Ctrl-C; the next one ends the process where it stands, and the workers end with it."""
    import signal

    signal.signal(signal.SIGINT, _leave)
    raise KeyboardInterrupt


def _leave(*_: object) -> None:
    import os

    os.write(2, b"brain-diffusion prepare: interrupted twice; what was finished is kept\n")
    os._exit(130)


def _prepare(args: argparse.Namespace) -> int:
    import json
    import os
    import sys
    from pathlib import Path

    from tqdm import tqdm

    from brain_diffusion_jax import config as configs
    from brain_diffusion_jax.data.shards.splits import SplitSpec
    from brain_diffusion_jax.data.shards.writer import write_shards
    from brain_diffusion_jax.data.sources.image_source import ImageSource
    from brain_diffusion_jax.errors import InputError
    from brain_diffusion_jax.kinds import READS

    if args.workers < 0:
        raise InputError("command line", "--workers", args.workers, "0 or more")
    config = configs.load_config(args.config, args.overrides, reads=READS["prepare"])
    out = Path(args.out or config.data.shards or Path("shards") / config.name)
    source, split = _source(config), SplitSpec(**config.split.to_dict())
    count = len(source.entries())
    pictures = isinstance(source, ImageSource)  # which lie in memory, so that workers would gain nothing
    workers = 1 if pictures else args.workers or (1 if count < 50 else os.cpu_count() or 1)
    beam = None if args.beam is None else [f"--{option.lstrip('-')}" for option in args.beam]

    silent = True if args.json or beam is not None else None  # None: silent unless a terminal looks on
    with tqdm(total=count, unit="picture" if pictures else "scan", disable=silent, file=sys.stderr) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        contract = write_shards(
            out,
            source,
            split,
            workers=workers,
            progress=progress,
            engine="local" if beam is None else "beam",
            beam_options=beam,
        )
    notes = {"remarks": list(source.notes)} if isinstance(source, ImageSource) else {}
    if args.json:
        print(json.dumps({"out": str(out), "fingerprint": contract.fingerprint, **contract.counts, **notes}))
    else:
        for lines in notes.values():
            _warn(lines)
        print(summary(contract.to_json(), out))
    return 0


def _source(config: ConfigDict) -> ScanSlices | ImageSource:
    """What the config says to prepare: pictures where pictures.root is set, else slices of the cohort's scans."""
    from brain_diffusion_jax.covariates import Schema
    from brain_diffusion_jax.data.prepare.pipeline import Preparation
    from brain_diffusion_jax.data.sources.cohort import CohortSpec, read_cohort
    from brain_diffusion_jax.data.sources.image_source import PicturesSpec, open_images
    from brain_diffusion_jax.data.sources.scan_slices import ScanSlices

    sections, schema = config.to_dict(), Schema.from_json(config.covariates)
    if config.pictures.root:
        return open_images(PicturesSpec.from_config(sections["pictures"]), schema)
    preparation = Preparation(**sections["prepare"])
    cohort = read_cohort(CohortSpec(**sections["cohort"]), schema)
    return ScanSlices(cohort, preparation, schema, f"{config.cohort.layout}: {cohort.table}")


def _warn(notes: list[str], shown: int = 20) -> None:
    """One warning a note, the rest counted."""
    import warnings

    for note in notes[:shown]:
        warnings.warn(note, stacklevel=2)
    if len(notes) > shown:
        warnings.warn(f"and {len(notes) - shown} more remarks of this kind", stacklevel=2)


def summary(contract: dict, out: object) -> str:
    """What was written and what was left out, as a table."""
    lines = [f"{'split':<12}{'people':>8}{'scans':>8}{'pictures':>10}"]
    counts = contract["counts"]
    for name in ("train", "validation", "test"):
        if name in counts:
            row = counts[name]
            lines.append(f"{name:<12}{row['people']:>8}{row['scans']:>8}{row['pictures']:>10}")
    if counts["dropped"]:
        lines += ["", f"{'left out':>8}  reason (each row in dropped.csv)"]
        lines += [f"{count:>8}  {reason}" for reason, count in counts["dropped"].items()]
    size = "x".join(map(str, contract["image_size"]))
    lines += ["", f"{out}: {size} {contract['stored_dtype']}, {contract['fingerprint'][:19]}..."]
    return "\n".join(lines)
