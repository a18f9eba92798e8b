"""NIfTI volumes and a table of people to ArrayRecord shards with a contract beside them.

  brain-diffusion prepare configs/oasis/diffusion.py cohort.root=FOLDER --out shards/oasis

A killed or interrupted run continues when the same command is given again.
"""

from __future__ import annotations

import argparse


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
    import sys

    from brain_diffusion_jax.api import preparation
    from brain_diffusion_jax.cli.options import bar_of

    beam = None if args.beam is None else [f"--{option.lstrip('-')}" for option in args.beam]
    silent = True if args.json or beam is not None else None  # None: silent unless a terminal looks on
    with bar_of("scan", disable=silent, file=sys.stderr) as progress:
        written = preparation.prepare(
            args.config, args.overrides, out=args.out, workers=args.workers, beam=beam, progress=progress
        )
    if args.json:
        contract = written.contract
        summary = {"out": str(written.folder), "fingerprint": contract.fingerprint, **contract.counts}
        print(json.dumps(summary | ({"remarks": written.remarks} if contract.kind == "pictures" else {})))
    else:
        _warn(written.remarks)
        print(preparation.describe(written))
    return 0


def _warn(notes: list[str], shown: int = 20) -> None:
    """One warning a note, the rest counted."""
    import warnings

    for note in notes[:shown]:
        warnings.warn(note, stacklevel=2)
    if len(notes) > shown:
        warnings.warn(f"and {len(notes) - shown} more remarks of this kind", stacklevel=2)
