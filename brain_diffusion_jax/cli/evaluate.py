"""Numbers for a set of pictures against real ones, without making any new picture.

  brain-diffusion evaluate pictures/ --data shards/oasis --age-model runs/age
  brain-diffusion evaluate pictures/ --against other_pictures/ --json
  brain-diffusion evaluate pictures/tumor pictures/gan --data shards/tumor --classifier runs/tumor-class --gate

WHAT and --against are folders written by `brain-diffusion sample`, or any folder of grey PNG, JPEG, TIFF or
BMP pictures of one size and of any depth (16 bits are scaled to [0, 1], floats must lie in it). With --data the
real pictures are a split of shards. Sets of unequal size are cut to the smaller one by a fixed random choice,
because distances of unequal sets mislead. With --classifier all folders WHAT stand in one table: Frechet
distance, Inception-style score and class fidelity, pooled and by class.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from brain_diffusion_jax.cli.options import PredictorOptions, seed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", nargs="+", help="folder of pictures (several with --classifier)")
    parser.add_argument("--data", help="shards with real pictures to compare with")
    parser.add_argument("--split", default="test", help="split of --data (default test)")
    parser.add_argument("--against", help="another folder of pictures to compare with")
    PredictorOptions.add(parser)
    parser.add_argument("--classifier", help="run folder of train-class: a table by class")
    parser.add_argument(
        "--gate", type=float, nargs="?", const=0.05, metavar="RATE", help="with --classifier, also what passes the gate"
    )
    parser.add_argument("--out", help="with --classifier, a folder for the table and contact sheets")
    parser.add_argument("--bootstrap", type=int, default=200, help="resamples for the intervals (0: none)")
    parser.add_argument("--seed", type=seed, default=0)
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    import json
    import sys

    from brain_diffusion_jax.api.predictors import Predictors
    from brain_diffusion_jax.contract import FILE_NAME, Contract, require_same
    from brain_diffusion_jax.errors import InputError
    from brain_diffusion_jax.evaluation import image_set
    from brain_diffusion_jax.evaluation.study import two_sets

    if arguments.classifier:
        return _classes(arguments)
    for name in ("gate", "out"):
        if getattr(arguments, name):
            raise InputError("command line", f"--{name}", "without --classifier", "--classifier RUN")
    if len(arguments.what) > 1:
        raise InputError("command line", "WHAT", f"{len(arguments.what)} folders", "one, or --classifier")
    arguments.what = arguments.what[0]
    if bool(arguments.data) == bool(arguments.against):
        raise InputError("command line", "--data, --against", "both or neither", "one of them")
    pictures = image_set.read_folder(arguments.what)
    mine = Contract.load(arguments.what) if (Path(arguments.what) / FILE_NAME).exists() else None
    if arguments.data:
        from brain_diffusion_jax.data.shards.loader import read_all

        given = Contract.load(arguments.data)
        if mine is not None:
            require_same(mine, given, f"{arguments.what} against {arguments.data}")
        real = image_set.from_records(read_all(arguments.data, arguments.split), given.schema)
        contract: Contract | None = given
    else:
        real, contract = image_set.read_folder(arguments.against), mine
        other = Path(arguments.against) / FILE_NAME
        if mine is not None and other.exists():
            require_same(mine, Contract.load(other.parent), f"{arguments.what} against {arguments.against}")
    options = PredictorOptions.of(arguments)
    predictors = Predictors.load(contract, age=options.age_model, more=options.inception_extractors())
    remarks = predictors.remarks(arguments.data, arguments.split) if arguments.data else []
    pictures.checked(arguments.what)
    real.checked(arguments.data or arguments.against)
    image_set.require_same_shape(real, pictures, arguments.what)
    count = min(len(pictures), len(real))
    numbers = two_sets.compare(
        pictures,
        real,
        predictors.instruments,
        schema=None if contract is None else contract.schema,
        replicates=arguments.bootstrap,
        seed=arguments.seed,
    )
    for remark in remarks:
        print(remark, file=sys.stderr)
    if arguments.json:
        print(json.dumps({"pictures": count, "numbers": numbers, "notes": remarks}))
    else:
        print(f"{count} pictures on each side")
        print(text(numbers))
    return 0


def _classes(arguments: argparse.Namespace) -> int:
    """All folders WHAT in one table, read by --classifier."""
    import json

    from brain_diffusion_jax import api
    from brain_diffusion_jax.contract import Contract
    from brain_diffusion_jax.errors import InputError
    from brain_diffusion_jax.evaluation.labelled import Real
    from brain_diffusion_jax.evaluation.study import class_table

    for name in ("age_model", "inception", "against"):
        if getattr(arguments, name):
            raise InputError("command line", f"--{name.replace('_', '-')}", "beside --classifier", "one of them")
    if not arguments.data:
        raise InputError("command line", "--data", "nothing", "the shards with the real pictures")
    classifier, contract = api.load(arguments.classifier, "class"), Contract.load(arguments.data)
    folders = {Path(what).name or str(what): Path(what) for what in arguments.what}
    if len(folders) != len(arguments.what):
        raise InputError("command line", "WHAT", "folders of the same name", "each folder once, by names that differ")
    real = Real.read(Path(arguments.data), classifier)
    sets = {n: class_table.read_folder(path, classifier, contract, arguments.data) for n, path in folders.items()}
    options = {"gate_rate": arguments.gate, "replicates": arguments.bootstrap, "seed": arguments.seed}
    found = class_table.measure(classifier, real, sets, arguments.data, **options)
    features = f"{classifier.config.class_model.backbone}-pool"
    said = class_table.text(found, classifier.words, list(sets), len(real.splits["test"].labels), features)
    if arguments.out:
        class_table.write(Path(arguments.out), found, said, sets)
    print(json.dumps(found) if arguments.json else said)
    return 0


def text(numbers: dict[str, Any]) -> str:
    from brain_diffusion_jax.evaluation.report.report_tables import interval_text, number

    width = max(map(len, numbers), default=0)
    return "\n".join(
        f"{name:<{width}}  {number(item['value']):>9}  {interval_text(item)}" for name, item in numbers.items()
    )
