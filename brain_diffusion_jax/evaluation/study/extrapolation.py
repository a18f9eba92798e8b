"""A covariate asked for at and beyond the ends of its range; noise and other conditions of each image stay as they are.

Pinaya et al. 2022 (figure 4) ask for ventricles in this way. The images lie under OUT/extrapolation, in chunks.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from brain_diffusion_jax.covariates import Continuous, Schema
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation.image_set import ImageSet
from brain_diffusion_jax.evaluation.probes import condition_fidelity, probe
from brain_diffusion_jax.evaluation.probes.condition_fidelity import Extrapolation
from brain_diffusion_jax.evaluation.probes.probe import Instruments, Probe
from brain_diffusion_jax.evaluation.probes.roles import Roles
from brain_diffusion_jax.evaluation.study import sample_store
from brain_diffusion_jax.evaluation.study.sample_store import ALONE, Processes
from brain_diffusion_jax.evaluation.study.study_settings import StudySettings

FOLDER = "extrapolation"


@dataclass(frozen=True)
class Question:
    """What is asked beyond its range, of whom, and what reads the answers. others: conditions of different people.

    reader: in words. shape: of one image.
    """

    covariate: Continuous
    others: Sequence[Mapping[str, Any]]
    probe: Probe
    reader: str
    shape: tuple[int, ...]

    @property
    def plan(self) -> dict[str, Any]:
        """What decides the images, beside the study's own settings."""
        return {"covariate": self.covariate.to_json(), "others": [dict(other) for other in self.others]}


def questions(
    names: Sequence[str],
    schema: Schema,
    chosen: ImageSet,
    train: ImageSet | None,
    instruments: Instruments,
    roles: Roles,
    settings: StudySettings,
) -> list[Question]:
    """A question for each name, before anything is sampled.

    Raises InputError for what is no number of the schema, what nothing reads, and values that the schema refuses.
    """
    found = []
    for name in names:
        covariate = schema[name]
        if not isinstance(covariate, Continuous):
            raise InputError("study", "extrapolate", name, "a covariate that is a number")
        alone = replace(roles, numeric=(covariate,), categorical=())
        readers = probe.build(instruments, alone, chosen, train, settings.batch_size)
        if not readers:
            expected = "an --age-model of it, measured volumes, or training images to learn from"
            raise InputError("study", "extrapolate", f"{name}, which nothing reads", expected)
        others = different_people(chosen, settings.extrapolate_images)
        values = covariate.in_unit(np.asarray(condition_fidelity.FRACTIONS))
        with _meant():
            schema.encode([{**others[0], name: float(value)} for value in values])
        words = _reader(readers[0], instruments, covariate == roles.target)
        found.append(Question(covariate, others, readers[0], words, chosen.shape))
    return found


def _reader(first: Probe, instruments: Instruments, is_target: bool) -> str:
    if first.covariate.name in instruments.measures:
        return "the instrument that the data were measured with"
    return "the regressor" if is_target and not first.name else "a linear probe of pixels"


def different_people(chosen: ImageSet, count: int) -> list[dict[str, Any]]:
    """Conditions of `count` people, or of all if there are fewer, evenly over the set."""
    first: dict[str, int] = {}
    for row, person in enumerate(chosen.people):
        first.setdefault(person, row)
    rows = np.fromiter(first.values(), int)
    places = np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int)
    return [dict(chosen.conditions[row]) for row in rows[places]]


def sample(
    sample_fn: sample_store.SampleFn,
    question: Question,
    settings: StudySettings,
    out: Path,
    processes: Processes = ALONE,
    tell: Callable[[str, int, int], None] = lambda stage, done, total: None,
) -> None:
    """Write the missing images of this process, of every scale."""
    name = question.covariate.name
    sample_store.claim(_folder(out, name), {"model": settings.model, "seed": settings.seed, **question.plan})
    for fraction in condition_fidelity.FRACTIONS:
        value = float(question.covariate.in_unit(fraction))
        for scale in settings.guidance_scales:
            with _meant():
                sample_store.generate(
                    sample_fn,
                    [{**other, name: value} for other in question.others],
                    scale,
                    question.shape,
                    _folder(out, name, value),
                    seed=settings.seed,
                    chunk=settings.batch_size,
                    processes=processes,
                    progress=partial(_tell, tell, f"{name} at {fraction:g}"),
                )


def _tell(tell: Callable[[str, int, int], None], what: str, stage: str, done: int, total: int) -> None:
    tell(f"{what}, {stage}", done, total)


def answers(question: Question, settings: StudySettings, out: Path) -> dict[str, Any]:
    """What a study keeps of a question whose images are all there. curves: `Extrapolation` of each scale."""
    name = question.covariate.name

    def stored(conditions: list[dict[str, Any]], scale: float) -> np.ndarray:
        return sample_store.read(_folder(out, name, conditions[0][name]), scale)

    curves = {
        sample_store.scale_name(scale): condition_fidelity.extrapolate(
            partial(stored, scale=scale), question.probe.read, question.covariate, question.others
        ).to_json()
        for scale in settings.guidance_scales
    }
    return {"covariate": question.covariate.to_json(), "reader": question.reader, "curves": curves}


def curves_of(answer: Mapping[str, Any]) -> tuple[Continuous, dict[str, Extrapolation]]:
    """(covariate, curve of each scale) of what a study keeps."""
    curves = {name: Extrapolation.from_json(items) for name, items in answer["curves"].items()}
    return Continuous(**answer["covariate"]), curves


def each(found: Mapping[str, Any]) -> Iterator[tuple[str, str, Extrapolation]]:
    """(covariate, scale, curve) of all that a study keeps."""
    for name, answer in found.items():
        for row, curve in curves_of(answer)[1].items():
            yield name, row, curve


def _folder(out: Path, name: str, value: float | None = None) -> Path:
    folder = out / FOLDER / name
    return folder if value is None else folder / f"{value:.6g}"


class _meant(warnings.catch_warnings):
    """Within it conditions beyond their range are no surprise."""

    def __enter__(self) -> None:
        super().__enter__()
        warnings.filterwarnings("ignore", message=".*extrapolating")
