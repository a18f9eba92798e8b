"""The study: every guidance scale against real held-out people, streamed to disk and resumable.

Models come as callables, so that this file knows no network. Stages, each kept in the study's
folder and skipped when it is already there: pictures (in chunks), features, similarity of pairs;
then the statistics, which take seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from brain_diffusion_jax import __version__
from brain_diffusion_jax.contract import Contract
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation.probes.features import Extractor
from brain_diffusion_jax.evaluation.probes.pixel_probe import block_means
from brain_diffusion_jax.evaluation.probes.probe import Instruments
from brain_diffusion_jax.evaluation.probes.roles import Roles
from brain_diffusion_jax.evaluation.study import report_pictures, sample_store
from brain_diffusion_jax.evaluation.study.measurement import Material, Tell, measure
from brain_diffusion_jax.evaluation.study.picture_sets import PictureSet, check, require_same_size
from brain_diffusion_jax.evaluation.study.study_result import StudyResult
from brain_diffusion_jax.evaluation.study.study_settings import StudySettings


def pixel_extractor() -> Extractor:
    """Block means of the picture itself: needs no network, always there."""
    return Extractor("pixels-24x24", __version__, block_means)


@dataclass(frozen=True)
class Processes:
    """Processes that share the sampling; the first measures. barrier: called between the stages of several."""

    index: int = 0
    count: int = 1
    barrier: Callable[[str], None] = lambda stage: None


def run_study(
    sample_fn: sample_store.SampleFn,
    real: Mapping[str, PictureSet],
    instruments: Instruments,
    settings: StudySettings,
    out: str | Path,
    *,
    contract: Contract | None = None,
    method: Mapping[str, Any] | None = None,
    processes: Processes = Processes(),
    progress: Tell | None = None,
) -> StudyResult:
    """Generate, measure and save; returns the result and leaves study.json and CSVs in `out`.

    sample_fn: (conditions, guidance scale, seed) -> unit pictures [n, rows, cols, 1]. real: split name
    -> pictures; "train" is needed for pixel probes and privacy. instruments: what reads the pictures.
    contract: its schema says what the covariates are. method: added to the method text. progress: (stage,
    done, total).
    """
    tell = progress or (lambda stage, done, total: None)
    chosen, notes = choose_pictures(real, settings)
    material = Material(chosen, real.get("train"), contract, Path(out))
    roles = material.roles(instruments, settings)
    claim_folder(material.out, settings, chosen)
    for scale in settings.guidance_scales:
        sample(sample_fn, material, scale, settings, processes, tell)
    processes.barrier("sampled")
    method_text = {**describe(settings, instruments, material, roles), **dict(method or {})}
    result = StudyResult(settings.title, method_text, [], notes, reference=settings.reference)
    if processes.index == 0:
        found = measure(material, instruments, settings, tell)
        report_pictures.save(material, found, roles)
        result = replace(
            result, rows=found.rows, notes=notes + found.notes, anatomy=found.anatomy, privacy=found.privacy
        )
        result.save(material.out)
    processes.barrier("measured")
    return result


def sample(
    sample_fn: sample_store.SampleFn,
    material: Material,
    scale: float,
    settings: StudySettings,
    processes: Processes,
    tell: Tell,
) -> None:
    """This process's missing pictures of one scale."""
    done = 0

    def step(count: int) -> None:
        nonlocal done
        done += count
        tell(f"sampling {sample_store.scale_name(scale)}", done, len(material.chosen))

    sample_store.generate(
        sample_fn,
        material.chosen.conditions,
        scale,
        material.chosen.size,
        material.out,
        seed=settings.seed,
        chunk=settings.batch_size,
        process_index=processes.index,
        process_count=processes.count,
        progress=step,
    )


def choose_pictures(real: Mapping[str, PictureSet], settings: StudySettings) -> tuple[PictureSet, list[str]]:
    """The evaluated real pictures, as many as will be generated, and what the reader must know of the choice."""
    if settings.evaluated not in real:
        raise InputError("study", "evaluated split", settings.evaluated, f"one of {sorted(real)}")
    if not settings.guidance_scales:
        raise InputError("study", "guidance_scales", "none", "at least one number")
    pictures = check(real[settings.evaluated], f"real pictures, split {settings.evaluated!r}")
    for name, other in real.items():
        require_same_size(pictures, check(other, f"real pictures, split {name!r}"), f"split {name!r}")
    notes = []
    count = settings.num_samples or len(pictures)
    if count > len(pictures):
        notes.append(
            f"{count} pictures per scale were asked for; split {settings.evaluated!r} has {len(pictures)}, "
            "so that many were made: every set has the same number of pictures."
        )
        count = len(pictures)
    if count < len(pictures):
        rows = np.sort(np.random.default_rng(settings.seed).permutation(len(pictures))[:count])
        pictures = pictures[rows]
    if len(pictures) < 2:
        raise InputError(f"split {settings.evaluated!r}", "pictures", len(pictures), "at least 2")
    if "train" not in real:
        notes.append("No training pictures were given: no second regressor, sex, slice position and privacy check.")
    else:
        shared = set(real["train"].people) & set(pictures.people)
        if shared:
            notes.append(
                f"{len(shared)} of {len(set(pictures.people))} evaluated people are also in the training split: "
                "every number here is optimistic, the age error most of all."
            )
    return pictures, notes


def claim_folder(out: Path, settings: StudySettings, chosen: PictureSet) -> None:
    """Bind the folder to what decides the pictures in it."""
    sample_store.claim(
        out,
        {
            "model": settings.model,
            "guidance_scales": list(settings.guidance_scales),
            "seed": settings.seed,
            "batch_size": settings.batch_size,
            "num_pictures": len(chosen),
            "conditions": sample_store.fingerprint([dict(c) for c in chosen.conditions]),
        },
    )


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
        "bootstrap": settings.bootstrap,
        "extractors": {e.name: e.version for e in instruments.extractors},
        "contract": None if material.contract is None else material.contract.to_json(),
    }
