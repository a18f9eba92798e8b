"""Numbers for a set of images against real ones, without making any new image.

  brain-diffusion evaluate pictures/ --data shards/oasis --age-model runs/age
  brain-diffusion evaluate pictures/ --against other_pictures/ --json
  brain-diffusion evaluate pictures/tumor pictures/gan --data shards/tumor --classifier runs/tumor-class --gate

WHAT and --against are folders written by `brain-diffusion sample`, or any folder of grey PNG, JPEG, TIFF or
BMP images of one size and of any depth (16 bits are scaled to [0, 1], floats must lie in it). With --data the
real images are a split of shards. Sets of unequal size are cut to the smaller one by a fixed random choice,
because distances of unequal sets mislead. With --classifier all folders WHAT stand in one table: Frechet
distance, Inception-style score and class fidelity, pooled and by class.
"""

from __future__ import annotations

from pathlib import Path

from brain_diffusion_jax.cli.options import PredictorOptions
from brain_diffusion_jax.cli.parsing import argument, option, seed
from brain_diffusion_jax.errors import InputError


class Options(PredictorOptions):
    """What is evaluated, and what it is set beside."""

    what: tuple[Path, ...] = argument("folder of images (several with --classifier)", nargs="+")
    data: Path | None = option("shards with real images to compare with")
    split: str = option("split of --data (default test)", "test")
    against: Path | None = option("another folder of images to compare with")
    classifier: Path | None = option("run folder of train-class: a table by class")
    gate: float | None = option(
        "with --classifier, also what passes the gate (default rate 0.05)", nargs="?", const=0.05, metavar="RATE"
    )
    out: Path | None = option("with --classifier, a folder for the table and contact sheets")
    bootstrap: int = option("resamples for the intervals (default 200; 0: none)", 200)
    seed: int = option("default 0", 0, type=seed)
    json: bool = option("print JSON", False)


def run(options: Options) -> int:
    """Print the numbers of one folder, or the table of several."""
    return _one(options) if options.classifier is None else _classes(options, options.classifier)


def _refuse(options: Options, names: tuple[str, ...], found: str, expected: str) -> None:
    for name in names:
        if getattr(options, name):
            raise InputError("command line", f"--{name.replace('_', '-')}", found, expected)


def _one(options: Options) -> int:
    import json
    import sys

    from brain_diffusion_jax.api.evaluations import evaluate
    from brain_diffusion_jax.cli.progress import stages
    from brain_diffusion_jax.evaluation.report import text_tables

    _refuse(options, ("gate", "out"), "without --classifier", "--classifier RUN")
    if len(options.what) > 1:
        raise InputError("command line", "WHAT", f"{len(options.what)} folders", "one, or --classifier")
    with stages("", desc="evaluate") as progress:
        found = evaluate(
            options.what[0],
            data=options.data,
            split=options.split,
            against=options.against,
            age_model=options.age_model,
            extractors=options.extractors(),
            replicates=options.bootstrap,
            seed=options.seed,
            progress=progress,
        )
    for note in found.notes:
        print(note, file=sys.stderr)
    if options.json:  # the keys are those of release 0.1
        print(json.dumps({"pictures": found.count, "numbers": found.numbers, "notes": found.notes}))
    else:
        print(f"{found.count} images on each side\n{text_tables.numbers_table(found.numbers)}")
    return 0


def _classes(options: Options, classifier: Path) -> int:
    """All folders WHAT in one table, read by --classifier."""
    import json

    from brain_diffusion_jax.api.evaluations import evaluate_classes
    from brain_diffusion_jax.cli.progress import stages

    _refuse(
        options, ("age_model", "inception", "medicalnet", "deepbet", "against"), "beside --classifier", "one of them"
    )
    if not options.data:
        raise InputError("command line", "--data", "nothing", "the shards with the real images")
    with stages("", desc="evaluate") as progress:
        found = evaluate_classes(
            options.what,
            options.data,
            classifier,
            out=options.out,
            gate_rate=options.gate,
            replicates=options.bootstrap,
            seed=options.seed,
            progress=progress,
        )
    print(json.dumps(found.numbers) if options.json else found.text)
    return 0
