"""The study: every guidance scale against real held-out people, streamed to disk and resumable.

Models come as callables, so that this file knows no network. Stages, each kept in the study's
folder and skipped when it is already there: images (in chunks), features, similarity of pairs;
then the statistics, which take seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from brain_diffusion_jax import __version__
from brain_diffusion_jax.contract import Contract
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation.image_set import ImageSet, require_same_shape
from brain_diffusion_jax.evaluation.probes.features import Extractor
from brain_diffusion_jax.evaluation.probes.pixel_probe import BLOCKS, block_means
from brain_diffusion_jax.evaluation.probes.probe import Instruments
from brain_diffusion_jax.evaluation.probes.roles import Roles
from brain_diffusion_jax.evaluation.study import extrapolation, report_pictures, sample_store
from brain_diffusion_jax.evaluation.study.measurement import Material, Tell, measure
from brain_diffusion_jax.evaluation.study.sample_store import ALONE, Processes
from brain_diffusion_jax.evaluation.study.study_result import StudyResult
from brain_diffusion_jax.evaluation.study.study_settings import StudySettings


def pixel_extractor(spatial_dims: int = 2) -> Extractor:
    """Block means of the image itself: needs no network, always there."""
    return Extractor(f"pixels-{'x'.join([str(BLOCKS[spatial_dims])] * spatial_dims)}", __version__, block_means)


def run_study(
    sample_fn: sample_store.SampleFn,
    real: Mapping[str, ImageSet],
    instruments: Instruments,
    settings: StudySettings,
    out: str | Path,
    *,
    contract: Contract | None = None,
    method: Mapping[str, Any] | None = None,
    processes: Processes = ALONE,
    progress: Tell | None = None,
) -> StudyResult:
    """Generate, measure and save; returns the result and leaves study.json and CSVs in `out`.

    sample_fn: (conditions, guidance scale, seed) -> unit images [n, *spatial, c]. real: split name
    -> images; "train" is needed for pixel probes and privacy. instruments: what reads the images.
    contract: its schema says what the covariates are. method: added to the method text. progress: (stage,
    done, total).
    """
    tell = progress or (lambda stage, done, total: None)
    chosen, notes = choose_images(real, settings)
    material = Material(chosen, real.get("train"), contract, Path(out))
    roles = material.roles(instruments, settings)
    schema = chosen.schema() if contract is None else contract.schema
    sets = chosen, material.train
    asked = extrapolation.questions(settings.extrapolate, schema, *sets, instruments, roles, settings)
    sample_store.claim(material.out, plan(settings, chosen))
    for scale in settings.guidance_scales:
        sample_store.generate(
            sample_fn,
            chosen.conditions,
            scale,
            chosen.shape,
            material.out,
            seed=settings.seed,
            chunk=settings.batch_size,
            processes=processes,
            progress=tell,
        )
    for question in asked:
        extrapolation.sample(sample_fn, question, settings, material.out, processes, tell)
    processes.barrier("sampled")
    method_text = {**describe(settings, instruments, material, roles), **dict(method or {})}
    result = StudyResult(settings.title, method_text, [], notes, reference=settings.reference)
    if processes.index == 0:
        measured = measure(material, instruments, settings, tell)
        report_pictures.save(material, measured, roles)
        notes = notes + measured.notes
        beyond = {q.covariate.name: extrapolation.answers(q, settings, material.out) for q in asked}
        notes += [f"{row}: {curve.describe(name)}" for name, row, curve in extrapolation.each(beyond)]
        result = replace(result, rows=measured.rows, notes=notes, anatomy=measured.anatomy, privacy=measured.privacy)
        result.extrapolation = beyond
        result.save(material.out)
    processes.barrier("measured")
    return result


def choose_images(real: Mapping[str, ImageSet], settings: StudySettings) -> tuple[ImageSet, list[str]]:
    """The evaluated real images, as many as will be generated, and what the reader must know of the choice."""
    if settings.evaluated not in real:
        raise InputError("study", "evaluated split", settings.evaluated, f"one of {sorted(real)}")
    if not settings.guidance_scales:
        raise InputError("study", "guidance_scales", "none", "at least one number")
    images = real[settings.evaluated].checked(f"real images, split {settings.evaluated!r}")
    for name, other in real.items():
        require_same_shape(images, other.checked(f"real images, split {name!r}"), f"split {name!r}")
    notes = []
    count = settings.num_samples or len(images)
    if count > len(images):
        notes.append(
            f"{count} images per scale were requested; split {settings.evaluated!r} has {len(images)}, "
            "so that many were made: every set has the same number of images."
        )
    elif count < len(images):
        images = images[np.sort(np.random.default_rng(settings.seed).permutation(len(images))[:count])]
    if len(images) < 2:
        raise InputError(f"split {settings.evaluated!r}", "images", len(images), "at least 2")
    if "train" not in real:
        notes.append("No training images were given: no second regressor, sex, slice position and privacy check.")
    elif shared := set(real["train"].people) & set(images.people):
        notes.append(
            f"{len(shared)} of {len(set(images.people))} evaluated people are also in the training split: "
            "every number here is optimistic, the age error most of all."
        )
    return images, notes


def plan(settings: StudySettings, chosen: ImageSet) -> dict[str, Any]:
    """What decides the images in a study's folder."""
    return {
        "model": settings.model,
        "guidance_scales": list(settings.guidance_scales),
        "seed": settings.seed,
        "batch_size": settings.batch_size,
        "num_pictures": len(chosen),
        "conditions": sample_store.fingerprint([dict(c) for c in chosen.conditions]),
    }


def describe(settings: StudySettings, instruments: Instruments, material: Material, roles: Roles) -> dict[str, Any]:
    """Versions, seeds and sizes for the method text."""
    import jax

    return {
        "created": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "versions": {"brain-diffusion-jax": __version__, "jax": jax.__version__, "numpy": np.__version__},
        "device": jax.devices()[0].device_kind,
        "model": settings.model,
        "evaluated_split": settings.evaluated,
        "target": "" if roles.target is None else roles.target.name,
        "num_pictures": len(material.chosen),
        "num_people": len(set(material.chosen.people)),
        "seed": settings.seed,
        **({"protocol": settings.protocol} if settings.protocol else {}),
        "bootstrap": settings.bootstrap,
        "extractors": {e.name: e.version for e in instruments.extractors},
        "contract": None if material.contract is None else material.contract.to_json(),
    }
