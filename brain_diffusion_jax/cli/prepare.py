"""NIfTI volumes and a table of people to ArrayRecord shards with a contract beside them.

  brain-diffusion prepare configs/oasis/diffusion.py cohort.root=FOLDER --out shards/oasis
  brain-diffusion prepare configs/oasis/volumes_2mm.py cohort.root=FOLDER --measure volumes --out shards/volumes

A killed or interrupted run continues when the same command is given again.
"""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from brain_diffusion_jax.cli.parsing import OptionGroup, argument, option


class Options(OptionGroup):
    """What is prepared, where it goes, and what works at it."""

    config: Path = argument("config file (configs/*.py)")
    overrides: tuple[str, ...] = argument("changes to the config", nargs="*", metavar="section.key=value")
    out: str = option("folder for the shards (default: data.shards, or shards/NAME)", "")
    workers: int = option("processes (default: one a core for 50 scans and more)", 0)
    measure: str = option("measure ventricular and brain volume and add them as conditions", "", choices=("volumes",))
    json: bool = option("print a summary as JSON and nothing else", False)
    beam: tuple[str, ...] | None = option(
        "prepare through Apache Beam, with its options as OPTION=VALUE, such as runner=DirectRunner",
        nargs="*",
        metavar="OPTION",
    )


def next_step(options: Options) -> str:
    """A training on the shards, with those of the overrides that it reads.

    A file that names no kind trains slices. One that prepares volumes serves several kinds, each with a config of its
    own: of those beside it that say so the first is named, and the others after it.
    """
    from brain_diffusion_jax.config import load_config
    from brain_diffusion_jax.config.defaults import PREPARE, reads_of

    config = load_config(options.config, options.overrides, reads=reads_of(PREPARE))
    kind = config.get("kind", "")
    shards = f"data.shards={options.out or config.data.shards or Path('shards') / config.name}"
    if not kind and config.prepare.kind == "volumes":
        first, *others = _trained_on(options.config) or [Path("CONFIG")]
        more = ", ".join(path.name for path in others)
        expected = f'of a kind, made with base_config(KIND, prepared_as="{options.config}")'
        return f"brain-diffusion train {first} {shards}  # {f'or {more}' if more else f'CONFIG: {expected}'}"
    reads = reads_of(kind or "diffusion")
    reads.remove("data.shards")  # said anyway
    kept = [item for item in options.overrides if item.partition("=")[0] in reads]
    return f"brain-diffusion train {shlex.join([str(options.config), *kept, shards])}"


def _trained_on(config: Path) -> list[Path]:
    """Config files beside this one that say they are `prepared_as` it; an autoencoder first, others stand on it."""
    found = []
    for path in sorted(config.parent.glob("*.py")):
        text = path.read_text(encoding="utf-8", errors="replace")
        if path.name != config.name and "prepared_as" in text and config.name in text:
            found.append(path)
    return sorted(found, key=lambda path: "autoencoder" not in path.name)


def run(options: Options) -> int:
    """Write the shards and print what was left out."""
    import json
    import sys

    from brain_diffusion_jax.api import preparation
    from brain_diffusion_jax.cli.progress import bar_of

    beam = None if options.beam is None else [f"--{word.lstrip('-')}" for word in options.beam]
    overrides = [*options.overrides, *(["prepare.measure.volumes=True"] if options.measure else [])]
    silent = True if options.json or beam is not None else None  # None: silent unless a terminal looks on
    with _interruptible(), _warnings_above_the_bar():
        with bar_of("scan", disable=silent, file=sys.stderr) as progress:
            written = preparation.prepare(
                options.config,
                overrides,
                out=options.out,
                workers=options.workers,
                beam=beam,
                progress=progress,
            )
        if options.json:
            contract = written.contract
            summary = {"out": str(written.folder), "fingerprint": contract.fingerprint, **contract.counts}
            # The key is that of release 0.1.
            print(json.dumps(summary | ({"remarks": written.notes} if contract.kind == "pictures" else {})))
        else:
            _warn(written.notes)
            print(preparation.describe(written))
    return 0


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Let the first Ctrl-C end the work, and the second one the process."""
    import signal
    import threading

    before = signal.getsignal(signal.SIGINT)
    # A background job of a script ignores Ctrl-C, and goes on ignoring it.
    if before is signal.default_int_handler and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, _interrupt)
    try:
        yield
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


@contextlib.contextmanager
def _warnings_above_the_bar() -> Iterator[None]:
    """Print warnings through tqdm, or one would cut the bar in two."""
    import sys
    import warnings

    from tqdm import tqdm

    with warnings.catch_warnings():
        warnings.simplefilter("default", UserWarning)
        warnings.showwarning = lambda text, *_, **__: tqdm.write(f"warning: {text}", file=sys.stderr)
        yield


def _warn(notes: Sequence[str], shown: int = 20) -> None:
    """One warning a note, the rest counted."""
    import warnings

    for note in notes[:shown]:
        warnings.warn(note, stacklevel=2)
    if len(notes) > shown:
        warnings.warn(f"and {len(notes) - shown} more notes of this kind", stacklevel=2)
