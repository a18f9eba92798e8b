"""A study of a model: every guidance scale against real held-out people, measured and reported."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from brain_diffusion_jax import files
from brain_diffusion_jax.api import baselines
from brain_diffusion_jax.api.loading import load
from brain_diffusion_jax.api.predictors import Predictors
from brain_diffusion_jax.api.protocols import Generator, draw
from brain_diffusion_jax.contract import Contract, require_same
from brain_diffusion_jax.diffusion.sampling import Sampling
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation.image_set import ImageSet
from brain_diffusion_jax.evaluation.probes import utility
from brain_diffusion_jax.evaluation.probes.features import Extractor
from brain_diffusion_jax.evaluation.report import report
from brain_diffusion_jax.evaluation.study import real_people, sample_store
from brain_diffusion_jax.evaluation.study import study as stages
from brain_diffusion_jax.evaluation.study.study_result import StudyResult
from brain_diffusion_jax.evaluation.study.study_settings import StudySettings
from brain_diffusion_jax.models.deep_brain_net import make_age_network


@dataclass(frozen=True)
class StudyPlan:
    """What a study does beside the run's config (sections study and sample); None is the config's.

    data: shards (default: those of the run). age_model, second_age_model, classifier: run folders; extractors: of
    other networks. pca_gauss: PCA-Gauss of the training images beside the model, in tables of both; None: of volumes.
    baselines: run folders of other generators, measured under this plan into the same tables; see `_beside`.
    num_samples: per scale. extrapolate: covariates asked for beyond their range. utility: seeds of train on synthetic,
    test on real; 0 is off, utility_steps 0 a linear probe of pixels. out: default RUN/study.
    """

    data: str | Path | None = None
    age_model: str | Path | None = None
    second_age_model: str | Path | None = None
    classifier: str | Path | None = None
    extractors: Sequence[Extractor] = ()
    pca_gauss: bool | None = None
    baselines: Sequence[str | Path] = ()
    guidance_scales: Sequence[float] | None = None
    num_samples: int | None = None
    split: str | None = None
    seed: int | None = None
    extrapolate: Sequence[str] | None = None
    sampler: str | None = None
    num_steps: int | None = None
    utility: int = 0
    utility_steps: int = 400
    out: str | Path | None = None


# A baseline has its own scales, sampler and steps, if any, and no baseline and no utility of its own.
_OF_BASELINE: dict[str, Any] = {
    "guidance_scales": None,
    "sampler": None,
    "num_steps": None,
    "pca_gauss": False,
    "baselines": (),
    "utility": 0,
}
# The folder of a study that holds those of its baselines.
BASELINES = "baselines"


def study(
    run: Generator | str | Path,
    plan: StudyPlan = StudyPlan(),
    *,
    compare: Mapping[str, StudyResult] | None = None,
    progress: Callable[[str, int, int], None] | None = None,
    **more: Any,
) -> StudyResult:
    """Generate, measure and report; leaves report.html, study.json and CSVs in the study's folder. Resumable.

    more: fields of `StudyPlan`, as in study("runs/a", age_model="runs/age"). compare: finished studies beside this one.
    progress: (stage, done, total). Several processes share the sampling; the result of all but the first is empty.
    """
    plan = replace(plan, **more)
    model: Generator = load(run, "generator") if isinstance(run, str | Path) else run
    shards, contract, real = real_people.open_real(model, plan.data)
    beside = _beside(model, plan, contract, (baselines.NAME, *(compare or ())))
    predictors = Predictors.load(
        contract,
        age=plan.age_model,
        second_age=plan.second_age_model,
        classifier=plan.classifier,
        more=plan.extractors,
        shards=shards,
    )
    settings, sampling = settings_of(model, plan)
    notes = predictors.notes(shards, settings.evaluated)
    out = folder_of(model, plan)
    method: dict[str, Any] = {"run": str(model.path), "data": str(shards), "sampling": _words(model, sampling)}
    runs = {"age_model": plan.age_model, "second_age_model": plan.second_age_model}
    method |= {name: str(run) for name, run in runs.items() if run}
    if predictors.measures:
        method["measured"] = dict.fromkeys(predictors.measures, f"the region {contract.measured['region']}")
    processes = stages.Processes()
    if jax.process_count() > 1:
        processes = stages.Processes(jax.process_index(), jax.process_count(), _barrier)
    result = stages.run_study(
        sampler(model, sampling),
        real,
        predictors.instruments,
        settings,
        out,
        contract=contract,
        method=method,
        processes=processes,
        progress=progress,
    )
    others = dict(compare or {})
    train = real.get("train")
    if train is not None and (len(train.shape) == 4 if plan.pca_gauss is None else plan.pca_gauss):
        own = replace(plan, **_OF_BASELINE, out=out / "pca-gauss")
        others[baselines.NAME] = study(baselines.fit_beside(model, train, contract), own, progress=progress)
    for name, other in beside.items():
        own = replace(plan, **_OF_BASELINE, data=shards, out=out / BASELINES / name)
        others[name] = study(other, own, progress=progress)
    if not result.rows:  # another process measures and writes
        return result
    if not model.guided:
        notes.append(f"A {model.kind} has no guidance: w=1 stands for its images as they come.")
    result.notes += [note for note in notes if note not in result.notes]
    if plan.utility:
        if not result.target:
            raise InputError("--utility", "target", "none among the conditions", "a covariate that is a number")
        result.utility = utility_of(out, real, settings, plan, result.target, progress)
    result.save(out)
    report.write_report(result, out, compare=others)
    return result


def _beside(model: Generator, plan: StudyPlan, contract: Contract, taken: Collection[str]) -> dict[str, Generator]:
    """Run name -> generator of every baseline, with the section `study` of the model's config.

    What decides conditions, seeds and intervals is thus that of the studied run; sampler and steps are those of
    the baseline's own config, guidance scales those of the study, or of its own config beside a model without guidance.
    Raises InputError, before anything is made, for a baseline of another contract, and for a name that another one or a
    row of the tables (taken) has.
    """
    found: dict[str, Generator] = {}
    for run in plan.baselines:
        other = load(run, "generator")
        name = other.path.resolve().name
        if name in (*found, *taken):
            raise InputError("--baselines", "names of run folders", f"{name} twice", "another name for each")
        if other.contract is None:
            raise InputError(run, "contract", "none", f"that of {model.path}")
        require_same(contract, other.contract, f"baseline {run} against {model.path}")
        section = model.config.study
        if other.guided:
            scales = plan.guidance_scales or (section if model.guided else other.config.study).guidance_scales
            section = replace(section, guidance_scales=tuple(scales))
        other.config = replace(other.config, study=section)
        found[name] = other
    return found


def folder_of(model: Generator, plan: StudyPlan) -> Path:
    """The folder that a study writes."""
    return Path(plan.out or model.path / "study")


def settings_of(model: Generator, plan: StudyPlan) -> tuple[StudySettings, Sampling]:
    """Settings of the run's config with the changes of the plan. A model without guidance is drawn once, as w=1."""
    sampling = model.sampling(sampler=plan.sampler, num_steps=plan.num_steps)
    section = dict(vars(model.config.study))
    scales = section.pop("guidance_scales") if plan.guidance_scales is None else plan.guidance_scales
    if not model.guided:
        if plan.guidance_scales is not None:
            raise InputError(model.path, "guidance_scales", scales, f"none: a {model.kind} has no guidance")
        scales = (1.0,)
    given: dict[str, Any] = {"num_samples": plan.num_samples, "evaluated": plan.split, "seed": plan.seed}
    given["extrapolate"] = None if plan.extrapolate is None else tuple(plan.extrapolate)
    section |= {name: value for name, value in given.items() if value is not None}
    section["guidance_scales"] = tuple(float(scale) for scale in scales)
    return StudySettings(
        **section,
        batch_size=sampling.batch_size,
        title=f"Study of {model.path.name}",
        model=f"{model.version} {_words(model, sampling)}",
    ), sampling


def _words(model: Generator, sampling: Sampling) -> dict[str, Any]:
    """What a study's folder remembers of the sampling, apart from the scales."""
    if not model.guided:
        return {}
    found = {"sampler": sampling.sampler, "num_steps": sampling.num_steps, "spacing": sampling.spacing}
    return found if sampling.eta is None else {**found, "eta": sampling.eta}


def sampler(model: Generator, sampling: Sampling) -> sample_store.SampleFn:
    """The study's sample_fn; short chunks are filled up, so that one compiled program serves all."""

    def sample(conditions: list[dict[str, Any]], scale: float, seed: int) -> np.ndarray:
        filled = conditions + [conditions[-1]] * (sampling.batch_size - len(conditions))
        return draw(model, filled, sampling.with_scale(scale), seed)[: len(conditions)]

    return sample


def _barrier(name: str) -> None:
    from jax.experimental import multihost_utils

    multihost_utils.sync_global_devices(f"study {name}")


def utility_of(
    out: Path,
    real: Mapping[str, ImageSet],
    settings: StudySettings,
    plan: StudyPlan,
    target: str,
    progress: Callable[[str, int, int], None] | None = None,
) -> list[dict[str, Any]]:
    """Train on synthetic, test on real, by a small network or the pixel probe, from the images left in `out`."""
    seeds, num_steps = plan.utility, plan.utility_steps
    if "train" not in real:
        raise InputError("--utility", "training images", "none", "shards with a training split")
    path = out / f"utility_{seeds}x{num_steps}.json"
    if path.exists():
        kept: list[dict[str, Any]] = files.read_json(path, "utility", list)
        return kept
    chosen, _ = stages.choose_images(real, settings)
    synthetic = {
        sample_store.scale_name(scale): ImageSet(
            sample_store.read(out, scale), chosen.conditions, [f"synthetic {p}" for p in chosen.people]
        )
        for scale in settings.guidance_scales
    }
    trainer: utility.TrainFn = utility.pixel_trainer
    if num_steps:
        trainer = utility.network_trainer(
            lambda mean, spread: make_age_network(dense=1024, dropout=0.8, target_mean=mean, target_scale=spread),
            num_steps=num_steps,
        )
    total, done = seeds * (2 + 2 * len(synthetic)), itertools.count(1)
    found = utility.utility(
        trainer,
        real["train"],
        synthetic,
        real[settings.evaluated],
        target,
        seeds=range(seeds),
        progress=None if progress is None else lambda name: progress("utility", next(done), total),
    )
    files.write_json(path, found, indent=1)
    return found
