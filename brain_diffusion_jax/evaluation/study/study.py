"""The study: every guidance scale against real held-out people, streamed to disk and resumable.

Models come as callables, so that this file knows no network. Stages, each kept in the study's
folder and skipped when it is already there: pictures (in chunks), features, similarity of pairs;
then the statistics, which take seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from brain_diffusion_jax import __version__
from brain_diffusion_jax.contract import Contract
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation.probes.condition_fidelity import block_means
from brain_diffusion_jax.evaluation.probes.features import Extractor
from brain_diffusion_jax.evaluation.study import sample_store
from brain_diffusion_jax.evaluation.study.measurement import measure
from brain_diffusion_jax.evaluation.study.picture_sets import PictureSet, check, require_same_size
from brain_diffusion_jax.evaluation.study.study_result import StudyResult
from brain_diffusion_jax.evaluation.study.study_settings import StudySettings


def pixel_extractor() -> Extractor:
    """Block means of the picture itself: needs no network, always there."""
    return Extractor("pixels-24x24", __version__, block_means)


def run_study(
    sample_fn: sample_store.SampleFn,
    real: Mapping[str, PictureSet],
    extractors: Sequence[Extractor],
    age_fn: Callable[[np.ndarray], np.ndarray] | None,
    settings: StudySettings,
    out: str | Path,
    *,
    contract: Contract | None = None,
    second_age_fn: Callable[[np.ndarray], np.ndarray] | None = None,
    method: Mapping[str, Any] | None = None,
    process_index: int = 0,
    process_count: int = 1,
    barrier: Callable[[str], None] | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> StudyResult:
    """Generate, measure and save; returns the result and leaves study.json and CSVs in `out`.

    sample_fn: (conditions, guidance scale, seed) -> unit pictures [n, rows, cols, 1]. real: split name
    -> pictures; "train" is needed for the second regressor, sex, slice position and privacy. age_fn:
    unit pictures -> years; None leaves the age to the pixel probe and says so. second_age_fn: another
    regressor (default: the pixel probe). barrier: called between
    stages when several processes share the sampling; process 0 measures. progress: (stage, done, total).
    """
    out = Path(out)
    tell = progress or (lambda stage, done, total: None)
    chosen, notes = choose_pictures(real, settings)
    claim_folder(out, settings, chosen, extractors)
    for scale in settings.guidance_scales:
        done = 0

        def step(count: int, scale: float = scale) -> None:
            nonlocal done
            done += count
            tell(f"sampling {sample_store.scale_name(scale)}", done, len(chosen))

        sample_store.generate(
            sample_fn,
            chosen.conditions,
            scale,
            chosen.size,
            out,
            seed=settings.seed,
            chunk=settings.batch_size,
            process_index=process_index,
            process_count=process_count,
            progress=step,
        )
    if barrier is not None:
        barrier("sampled")
    method_text = {**describe(settings, extractors, chosen, contract), **dict(method or {})}
    result = StudyResult(settings.title, method_text, [], notes, reference=settings.reference)
    if process_index == 0:
        measure(result, real, chosen, extractors, age_fn, second_age_fn, settings, out, contract, tell)
        result.save(out)
    if barrier is not None:
        barrier("measured")
    return result


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


def claim_folder(out: Path, settings: StudySettings, chosen: PictureSet, extractors: Sequence[Extractor]) -> None:
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


def describe(
    settings: StudySettings, extractors: Sequence[Extractor], chosen: PictureSet, contract: Contract | None
) -> dict[str, Any]:
    """Versions, seeds and sizes for the method text."""
    import jax

    return {
        "created": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "versions": {"brain-diffusion-jax": __version__, "jax": jax.__version__, "numpy": np.__version__},
        "device": jax.devices()[0].device_kind,
        "model": settings.model,
        "evaluated_split": settings.evaluated,
        "num_pictures": len(chosen),
        "num_people": len(set(chosen.people)),
        "seed": settings.seed,
        "bootstrap": settings.bootstrap,
        "extractors": {e.name: e.version for e in extractors},
        "contract": contract.to_json() if contract is not None else None,
    }
