"""Folders of images against real ones, without a generator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from brain_diffusion_jax.api.loading import load
from brain_diffusion_jax.api.predictors import Predictors
from brain_diffusion_jax.contract import FILE_NAME, Contract, require_same
from brain_diffusion_jax.data.shards.loader import read_all
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation import image_set
from brain_diffusion_jax.evaluation.labelled import Real
from brain_diffusion_jax.evaluation.metrics.measures import Numbers
from brain_diffusion_jax.evaluation.probes.features import Extractor
from brain_diffusion_jax.evaluation.study import class_table, two_sets


@dataclass(frozen=True)
class Evaluation:
    """count: images on each side. notes: where real images are unlike those that the predictor was trained on."""

    count: int
    numbers: Numbers
    notes: list[str]


def evaluate(
    folder: str | Path,
    *,
    data: str | Path | None = None,
    split: str = "test",
    against: str | Path | None = None,
    age_model: str | Path | None = None,
    extractors: Sequence[Extractor] = (),
    replicates: int = 200,
    seed: int = 0,
    progress: Callable[[str, int, int], None] | None = None,
) -> Evaluation:
    """Numbers of a folder of images against a split of the shards `data`, or another folder, at equal numbers.

    age_model: run folder; reads ages, and gives features. extractors: of other networks. replicates: of the
    intervals, 0 is off. seed: which images are left out of the larger set. progress: (stage, done, total).
    """
    beside = data or against
    if beside is None or (data and against):
        raise InputError("command line", "--data, --against", "both or neither", "one of them")
    images, mine, theirs = image_set.read_folder(folder), _contract(folder), _contract(beside)
    if data:
        theirs = Contract.load(data)
        real = image_set.from_records(read_all(data, split), theirs.schema)
    else:
        real = image_set.read_folder(beside)
    if mine is not None and theirs is not None:
        require_same(mine, theirs, f"{folder} against {beside}")
    contract = mine if theirs is None else theirs
    predictors = Predictors.load(contract, age=age_model, more=extractors)
    notes = predictors.notes(data, split) if data else []
    images.checked(str(folder))
    real.checked(str(beside))
    image_set.require_same_shape(real, images, str(folder))
    schema = None if contract is None else contract.schema
    options: dict[str, Any] = {"replicates": replicates, "seed": seed, "progress": progress}
    numbers = two_sets.compare(images, real, predictors.instruments, schema=schema, **options)
    return Evaluation(min(len(images), len(real)), numbers, notes)


def _contract(folder: str | Path) -> Contract | None:
    """The contract beside a folder's images; None of plain images."""
    return Contract.load(folder) if (Path(folder) / FILE_NAME).exists() else None


class ClassEvaluation(NamedTuple):
    """The table of `class_table.measure`, as JSON values and as Markdown."""

    numbers: dict[str, Any]
    text: str


def evaluate_classes(
    folders: Sequence[str | Path],
    data: str | Path,
    classifier: str | Path,
    *,
    out: str | Path | None = None,
    gate_rate: float | None = None,
    replicates: int = 200,
    seed: int = 0,
    progress: Callable[[str, int, int], None] | None = None,
) -> ClassEvaluation:
    """All folders in one table beside the real images of `data`, read by the classifier of a run.

    out: folder for the table and contact sheets. gate_rate: also what passes the gate at that rate of false alarms.
    progress: (stage, done, total).
    """
    model, contract = load(classifier, "class"), Contract.load(data)
    named = {Path(folder).name or str(folder): Path(folder) for folder in folders}
    if len(named) != len(folders):
        raise InputError("command line", "WHAT", "folders of the same name", "each folder once, by names that differ")
    real = Real.read(Path(data), model)
    sets = {name: class_table.read_folder(path, model, contract, data) for name, path in named.items()}
    options: dict[str, Any] = {"gate_rate": gate_rate, "replicates": replicates, "seed": seed, "progress": progress}
    numbers = class_table.measure(model, real, sets, data, **options)
    features = f"{model.config.class_model.backbone}-pool"
    text = class_table.text(numbers, model.words, list(sets), len(real.splits["test"].labels), features)
    if out:
        class_table.write(Path(out), numbers, text, sets)
    return ClassEvaluation(numbers, text)
