"""From pictures on disk to the rows of a study: features, readers, statistics."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from brain_diffusion_jax import files
from brain_diffusion_jax.contract import Contract
from brain_diffusion_jax.evaluation.metrics import anatomy, measures, memorisation, ssim
from brain_diffusion_jax.evaluation.probes.condition_fidelity import (
    Agreement,
    agreement,
    categorical_reader,
    continuous_reader,
)
from brain_diffusion_jax.evaluation.probes.features import Extractor, Features, extract, unit_batches
from brain_diffusion_jax.evaluation.study import sample_store
from brain_diffusion_jax.evaluation.study.picture_sets import PictureSet
from brain_diffusion_jax.evaluation.study.study_result import Row, StudyResult
from brain_diffusion_jax.evaluation.study.study_settings import StudySettings
from brain_diffusion_jax.pixels import to_uint8

AgeFn = Callable[[np.ndarray], np.ndarray]


@dataclass
class _Measured:
    """What the statistics need of one set."""

    name: str
    scale: float | None
    pictures: PictureSet
    features: list[Features] = field(default_factory=list)
    ages: dict[str, np.ndarray] = field(default_factory=dict)


def measure(
    result: StudyResult,
    real: Mapping[str, PictureSet],
    chosen: PictureSet,
    extractors: Sequence[Extractor],
    age_fn: AgeFn | None,
    second_age_fn: AgeFn | None,
    settings: StudySettings,
    out: Path,
    contract: Contract | None,
    tell: Callable[[str, int, int], None],
) -> None:
    """Fill `result` from the pictures in `out`."""
    sets = [_Measured("real", None, chosen)]
    for scale in settings.guidance_scales:
        images = sample_store.read(out, scale)
        sets.append(
            _Measured(sample_store.scale_name(scale), scale, PictureSet(images, chosen.conditions, chosen.people))
        )
    train = real.get("train")
    if train is not None:
        generator = np.random.default_rng(settings.seed)
        reference = train[np.sort(generator.permutation(len(train))[: len(chosen)])]
        sets.insert(1, _Measured("real, training people", None, reference))
    readers = read_pictures(sets, train, age_fn, second_age_fn, settings, result)
    for number, item in enumerate(sets):
        tell("features", number + 1, len(sets))
        for extractor in extractors:
            digest = sample_store.fingerprint(extractor.version, sample_store.fingerprint(_checksum(item.pictures)))
            path = out / "features" / extractor.name / f"{item.name}-{digest}.npy"

            def compute(extractor: Extractor = extractor, images: np.ndarray = item.pictures.images) -> np.ndarray:
                return extract(extractor, images, settings.batch_size).values

            values = sample_store.cached(path, compute)
            item.features.append(Features(extractor.name, extractor.version, values))
    dimensions = max((f.values.shape[1] for f in sets[0].features), default=0)
    if len(chosen) <= dimensions:
        result.notes.append(
            f"{len(chosen)} pictures are fewer than the {dimensions} feature dimensions: the Frechet distance is exact "
            "for these sets, but its bias of order 1/N is large. Compare it with the real rows, not with other studies."
        )
    dark = dark_check(result, settings, contract, train if train is not None else chosen, chosen)
    thresholds = anatomy.tissue_thresholds((train if train is not None else chosen).unit)
    for number, item in enumerate(sets):
        tell("statistics", number, len(sets))
        result.rows.append(measure_row(item, sets[0], settings, out, readers, dark, thresholds))
    tell("statistics", len(sets), len(sets))
    if train is not None:
        measure_privacy(result, sets, train, settings, extractors[0] if extractors else None)
    save_report_pictures(result, sets, train, settings, out)


def _checksum(pictures: PictureSet) -> str:
    return hashlib.sha256(np.ascontiguousarray(pictures.images).tobytes()).hexdigest()


def read_pictures(
    sets: Sequence[_Measured],
    train: PictureSet | None,
    age_fn: AgeFn | None,
    second_age_fn: AgeFn | None,
    settings: StudySettings,
    result: StudyResult,
) -> dict[str, Agreement]:
    """Predict age, sex and slice position of every set; returns the readers' own agreement on real pictures."""
    readers: dict[str, Callable[[np.ndarray], np.ndarray]] = {}
    chosen = sets[0].pictures
    numeric = chosen.has(settings.age)

    def batched(function: AgeFn) -> AgeFn:
        def read(images: np.ndarray) -> np.ndarray:
            parts = [np.asarray(function(b), np.float64).reshape(-1) for b in unit_batches(images, settings.batch_size)]
            return np.concatenate(parts)

        return read

    people = None if train is None else np.asarray(train.people)
    if age_fn is not None and numeric:
        readers["age"] = batched(age_fn)
    elif numeric:
        result.notes.append("No age regressor was given: age is read by the pixel probe alone, a rough instrument.")
    if second_age_fn is not None and numeric:
        readers["age, second reader"] = batched(second_age_fn)
    elif train is not None and numeric and train.varies(settings.age):
        readers["age, second reader"] = continuous_reader(train.images, train.column(settings.age), people)
    if train is not None and chosen.has(settings.slice) and train.varies(settings.slice):
        readers["slice"] = continuous_reader(train.images, train.column(settings.slice), people)
    if train is not None and chosen.has(settings.sex) and train.varies(settings.sex):
        readers["sex"] = categorical_reader(train.images, train.column(settings.sex), people)
    own: dict[str, Agreement] = {}
    for item in sets:
        for name, reader in readers.items():
            item.ages[name] = reader(item.pictures.images)
    for name in readers:
        if name != "sex":
            own[name] = agreement(chosen.column(covariate_of(name, settings)).astype(float), sets[0].ages[name])
    return own


def covariate_of(reader: str, settings: StudySettings) -> str:
    return {"slice": settings.slice, "sex": settings.sex}.get(reader, settings.age)


def dark_check(
    result: StudyResult,
    settings: StudySettings,
    contract: Contract | None,
    reference: PictureSet,
    chosen: PictureSet,
) -> anatomy.DarkFraction | None:
    """The dark-fraction check for these pictures, with the real relation put into the result."""
    if not chosen.has(settings.age):
        return None
    check_of = anatomy.dark_fraction(settings.dark_fraction, contract, reference.images)
    rows = dark_rows(check_of, reference, settings)
    result.anatomy = {"dark_fraction": dict(measures.settings_of(check_of))}
    if len(rows):
        result.anatomy["real_age"] = reference.column(settings.age)[rows].astype(float)
        result.anatomy["real_dark"] = check_of(reference.images[rows])
    return check_of


def dark_rows(dark: anatomy.DarkFraction, pictures: PictureSet, settings: StudySettings) -> np.ndarray:
    """Rows at the slice the check is meant for."""
    if dark.slice is None or not pictures.has(settings.slice):
        return np.arange(len(pictures))
    return np.flatnonzero(np.abs(pictures.column(settings.slice).astype(float) - dark.slice) < 0.5)


def measure_row(
    item: _Measured,
    real: _Measured,
    settings: StudySettings,
    out: Path,
    own: Mapping[str, Agreement],
    dark: anatomy.DarkFraction | None,
    thresholds: tuple[float, float],
) -> Row:
    """All numbers of one set."""
    pictures, people = item.pictures, item.pictures.people
    row = Row(item.name, item.scale, len(pictures), len(set(people)))
    options: dict[str, Any] = {"replicates": settings.bootstrap, "seed": settings.seed}
    for mine, theirs in zip(item.features, real.features, strict=True):
        if item is real:
            row.numbers |= measures.real_floor(mine, people, settings.seed)
        else:
            row.numbers |= measures.distances(mine, theirs, people, real.pictures.people, **options)
    if item is not real and item.features:
        row.numbers |= measures.manifold(
            item.features[0], real.features[0], people, real.pictures.people, k=settings.neighbours, **options
        )
    row.numbers |= measure_diversity(item, settings, out)
    for name, predicted in item.ages.items():
        requested = pictures.column(covariate_of(name, settings))
        if name == "sex":
            row.numbers |= measures.categorical("sex", requested, predicted, people, **options)
            continue
        row.numbers |= measures.continuous(name, requested, predicted, people, real=own.get(name), **options)
        row.pictures[f"predicted {name}"] = predicted.tolist()
    for name in (settings.age, settings.slice):
        if pictures.has(name):
            row.pictures[f"requested {name}"] = pictures.column(name).astype(float).tolist()
    measure_anatomy(row, pictures, settings, dark, thresholds)
    return row


def measure_diversity(item: _Measured, settings: StudySettings, out: Path) -> measures.Numbers:
    """SSIM and MS-SSIM over pairs: all of them, or of a random subset when asked."""
    pictures = item.pictures
    if settings.ssim_pictures and settings.ssim_pictures < len(pictures):
        rows = np.random.default_rng(settings.seed).permutation(len(pictures))[: settings.ssim_pictures]
        pictures = pictures[np.sort(rows)]
    if min(pictures.size) < ssim.WINDOW:
        return {}
    digest = sample_store.fingerprint(_checksum(pictures))
    path = out / "similarity" / f"{item.name}-{digest}.npy"
    scales = ssim.num_scales(pictures.size)
    plain, multi = sample_store.cached(path, lambda: np.stack(ssim.ms_pairwise(pictures.unit)[:2]))
    options: dict[str, Any] = {"replicates": settings.bootstrap, "seed": settings.seed}
    return {
        **measures.diversity(plain, "SSIM of pairs", pictures.people, **options),
        **measures.diversity(multi, f"MS-SSIM of pairs ({scales} scales)", pictures.people, **options),
    }


def measure_anatomy(
    row: Row,
    pictures: PictureSet,
    settings: StudySettings,
    dark: anatomy.DarkFraction | None,
    thresholds: tuple[float, float],
) -> None:
    """Dark fraction, tissue fractions and symmetry against the requested age."""
    options: dict[str, Any] = {"replicates": settings.bootstrap, "seed": settings.seed}
    if dark is None:
        return
    people = np.asarray(pictures.people)
    ages = pictures.column(settings.age).astype(float)
    rows = dark_rows(dark, pictures, settings)
    if len(rows) >= 3:
        values = dark(pictures.images[rows])
        row.numbers |= measures.dark_relation(ages[rows], values, people[rows].tolist(), **options)
        column = np.full(len(pictures), np.nan)
        column[rows] = values
        row.pictures["dark fraction"] = column.tolist()
    unit = pictures.unit
    fractions = anatomy.tissue_fractions(unit, thresholds)
    for name, values in zip(("dark tissue", "grey tissue", "bright tissue"), fractions.T, strict=True):
        row.numbers |= measures.relation(name, ages, values, pictures.people, **options)
    mirrored = anatomy.symmetry(unit)
    if np.isfinite(mirrored).all():
        row.numbers |= measures.relation("symmetry", ages, mirrored, pictures.people, **options)


def measure_privacy(
    result: StudyResult,
    sets: Sequence[_Measured],
    train: PictureSet,
    settings: StudySettings,
    extractor: Extractor | None,
) -> None:
    """Nearest training pictures of generated pictures against those of held-out people."""
    train_features = None if extractor is None else extract(extractor, train.images, settings.batch_size).values
    search = memorisation.TrainingSearch(train.unit, train_features)

    def look(item: _Measured) -> memorisation.Closeness:
        return search(item.pictures.unit, item.features[0].values if extractor is not None else None)

    held_out = look(sets[0])
    limits = memorisation.limits_of(held_out)
    result.privacy = {"held_out": held_out.pixels.distance, "scales": {}}
    for item, row in zip(sets, result.rows, strict=True):
        if item.scale is None:
            continue
        found = look(item)
        options: dict[str, Any] = {"replicates": settings.bootstrap, "seed": settings.seed}
        numbers = memorisation.compare_to_held_out(found, held_out, item.pictures.people, **options)
        row.numbers |= {f"privacy {name}": number for name, number in numbers.items()}
        pairs = memorisation.copies(found, limits)
        result.privacy["scales"][item.name] = {"copies": [row for row, _ in pairs], "pairs": pairs}
        row.pictures["distance to nearest training picture"] = found.pixels.distance.tolist()
        row.pictures["likeness to nearest training picture"] = found.likeness.tolist()


def save_report_pictures(
    result: StudyResult,
    sets: Sequence[_Measured],
    train: PictureSet | None,
    settings: StudySettings,
    out: Path,
    columns: int = 10,
    most_pairs: int = 12,
) -> None:
    """Keep the few pictures that the report shows: spread over age, and flagged copies with their originals."""
    chosen = sets[0].pictures
    if chosen.has(settings.age):
        order = np.argsort(chosen.column(settings.age).astype(float), kind="stable")
        if result.anatomy and result.anatomy["dark_fraction"]["slice"] is not None and chosen.has(settings.slice):
            at_slice = (
                np.abs(chosen.column(settings.slice).astype(float) - result.anatomy["dark_fraction"]["slice"]) < 0.5
            )
            order = order[at_slice[order]] if at_slice.sum() >= columns else order
    else:
        order = np.arange(len(chosen))
    rows = order[np.unique(np.linspace(0, len(order) - 1, columns).round().astype(int))]
    arrays: dict[str, np.ndarray] = {
        "labels": np.array([condition_label(chosen.conditions[i], settings) for i in rows])
    }
    for item in sets:
        if item.scale is not None or item is sets[0]:
            arrays[item.name] = to_uint8(item.pictures.images[rows])
    pairs, captions = [], []
    for item in sets:
        for generated, original in result.privacy.get("scales", {}).get(item.name, {}).get("pairs", [])[:most_pairs]:
            assert train is not None
            pairs.append(np.stack([to_uint8(item.pictures.images[generated]), to_uint8(train.images[original])]))
            captions.append(f"{item.name}, picture {generated}: generated | training")
    if pairs:
        arrays |= {"pairs": np.stack(pairs), "pair_captions": np.array(captions)}
    files.write_npz(out / "report_pictures.npz", **arrays)


def condition_label(condition: Mapping[str, Any], settings: StudySettings) -> str:
    """Such as "72 F"."""
    parts = [f"{float(condition[settings.age]):.0f}"] if condition.get(settings.age) is not None else []
    if condition.get(settings.sex) is not None:
        parts.append(str(condition[settings.sex]))
    return " ".join(parts or [f"{k} {v}" for k, v in condition.items()])
