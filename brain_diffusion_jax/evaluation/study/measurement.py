"""From pictures on disk to the rows of a study: features, probes, statistics."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from brain_diffusion_jax.contract import Contract
from brain_diffusion_jax.evaluation.metrics import anatomy, measures, memorisation, ssim
from brain_diffusion_jax.evaluation.metrics.metric_id import DARK, PRIVACY, SSIM, TISSUES, MetricId
from brain_diffusion_jax.evaluation.probes import probe
from brain_diffusion_jax.evaluation.probes.features import Extractor, Features, extract
from brain_diffusion_jax.evaluation.probes.probe import Instruments
from brain_diffusion_jax.evaluation.probes.roles import Roles
from brain_diffusion_jax.evaluation.study import sample_store
from brain_diffusion_jax.evaluation.study.picture_sets import PictureSet, schema_of
from brain_diffusion_jax.evaluation.study.reading import DarkCheck, Reader, Reading
from brain_diffusion_jax.evaluation.study.study_result import Row
from brain_diffusion_jax.evaluation.study.study_settings import StudySettings

Tell = Callable[[str, int, int], None]  # stage, done, total
TRAINING = "real, training people"


@dataclass(frozen=True)
class Material:
    """What is measured. chosen: the evaluated real pictures; train: those that the models learned from, if given;
    out: the folder with the generated ones. contract: of all of them, None where there is none.
    """

    chosen: PictureSet
    train: PictureSet | None
    contract: Contract | None
    out: Path

    def roles(self, instruments: Instruments, settings: StudySettings) -> Roles:
        """What the covariates are to the study, from the contract's schema or from the conditions themselves."""
        schema = schema_of(self.chosen) if self.contract is None else self.contract.schema
        return instruments.roles(schema, settings.target, settings.position)


@dataclass(frozen=True)
class ReadSet:
    """A set of pictures with its reading. scale: of guidance, None for real pictures."""

    name: str
    scale: float | None
    reading: Reading

    @property
    def pictures(self) -> PictureSet:
        return self.reading.pictures


@dataclass(frozen=True)
class Measurement:
    """What a study says. sets: what the rows were measured of, in their order."""

    rows: list[Row]
    notes: list[str]
    anatomy: dict[str, Any] = field(default_factory=dict)
    privacy: dict[str, Any] = field(default_factory=dict)
    sets: Sequence[ReadSet] = field(default_factory=list, repr=False)


def measure(material: Material, instruments: Instruments, settings: StudySettings, tell: Tell) -> Measurement:
    """Everything that is said of the pictures in `material.out`."""
    roles, chosen, train = material.roles(instruments, settings), material.chosen, material.train
    probes = probe.build(instruments, roles, chosen, train, settings.batch_size)
    known = train if train is not None else chosen
    dark = dark_check(settings, material.contract, roles, known, chosen)
    reader = Reader(instruments.extractors, probes, dark, settings.bootstrap, settings.seed, settings.batch_size)
    sets = read_sets(material, reader, settings, tell)
    corrections = reader.corrections(sets[0].reading)
    thresholds = anatomy.tissue_thresholds(known.unit)
    closest = None if train is None else Closest(sets[0], train, reader)
    rows, copies = [], {}
    for number, item in enumerate(sets):
        tell("statistics", number, len(sets))
        numbers = quality(item, sets[0], reader, settings, material.out)
        numbers |= reader.agreements(item.reading, corrections)
        pictures = per_picture(item, reader, roles)
        if dark is not None:
            numbers |= measure_anatomy(item.reading, reader, roles, thresholds)
        if closest is not None and item.scale is not None:
            found = closest.look(item)
            numbers |= closest.numbers(found, item.pictures.people)
            pictures |= per_picture_closeness(found)
            copies[item.name] = memorisation.copies(found, closest.limits)
        people = len(set(item.pictures.people))
        rows.append(Row(item.name, item.scale, len(item.pictures), people, numbers, pictures))
    tell("statistics", len(sets), len(sets))
    return Measurement(
        rows,
        notes_on(instruments, settings, roles, sets[0], dark),
        real_anatomy(dark, known, roles),
        {} if closest is None else privacy_of(closest, copies),
        sets,
    )


def privacy_of(closest: Closest, copies: Mapping[str, list[list[int]]]) -> dict[str, Any]:
    """What is kept of the search for copies: distances of held-out people, and suspected pairs by scale."""
    scales = {name: {"copies": [row for row, _ in pairs], "pairs": pairs} for name, pairs in copies.items()}
    return {"held_out": closest.held_out.pixels.distance, "scales": scales}


def read_sets(material: Material, reader: Reader, settings: StudySettings, tell: Tell) -> list[ReadSet]:
    """Readings of the real people, as many training people, and of every scale; features are kept in the folder."""
    chosen, train, out = material.chosen, material.train, material.out
    named: list[tuple[str, float | None, PictureSet]] = [("real", None, chosen)]
    if train is not None:
        generator = np.random.default_rng(settings.seed)
        named.append((TRAINING, None, train[np.sort(generator.permutation(len(train))[: len(chosen)])]))
    for guidance in settings.guidance_scales:
        pictures = PictureSet(sample_store.read(out, guidance), chosen.conditions, chosen.people)
        named.append((sample_store.scale_name(guidance), guidance, pictures))
    sets = []
    for number, (name, scale, pictures) in enumerate(named):
        tell("features", number + 1, len(named))
        checksum = _checksum(pictures)

        def kept(extractor: Extractor, items: PictureSet, name: str = name, checksum: str = checksum) -> Features:
            digest = sample_store.fingerprint(extractor.version, sample_store.fingerprint(checksum))
            path = out / "features" / extractor.name / f"{name}-{digest}.npy"
            compute = lambda: extract(extractor, items.images, settings.batch_size).values  # noqa: E731
            return Features(extractor.name, extractor.version, sample_store.cached(path, compute))

        sets.append(ReadSet(name, scale, reader(pictures, kept)))
    return sets


def _checksum(pictures: PictureSet) -> str:
    return hashlib.sha256(np.ascontiguousarray(pictures.images).tobytes()).hexdigest()


def notes_on(
    instruments: Instruments, settings: StudySettings, roles: Roles, real: ReadSet, dark: DarkCheck | None
) -> list[str]:
    """What a reader of the numbers must know of how they were measured."""
    notes, target, count = [], roles.target, len(real.pictures)
    if target is not None and real.pictures.has(target.name):
        if instruments.predictor is None:
            notes.append(
                f"No {target.name} regressor was given: {target.name} is read by the pixel probe alone, a rough "
                "instrument."
            )
        elif not instruments.fit(target):
            notes.append(f"The regressor reads {instruments.reads}, not {target.name}: its answers were not used.")
    dimensions = max((f.values.shape[1] for f in real.reading.features), default=0)
    if count <= dimensions:
        notes.append(
            f"{count} pictures are fewer than the {dimensions} feature dimensions: the Frechet distance is exact "
            "for these sets, but its bias of order 1/N is large. Compare it with the real rows, not with other studies."
        )
    if dark is not None and dark.fraction.slice is not None and dark.position is None:
        notes.append(
            f"The dark fraction is meant for slice {dark.fraction.slice:g}, but no covariate says where a slice lies "
            "(study.position): it was taken of all pictures."
        )
    return notes


def dark_check(
    settings: StudySettings, contract: Contract | None, roles: Roles, reference: PictureSet, chosen: PictureSet
) -> DarkCheck | None:
    """The dark-fraction check for these pictures; None where the target is not known of all of them."""
    if roles.target is None or not chosen.has(roles.target.name):
        return None
    return DarkCheck(anatomy.dark_fraction(settings.dark_fraction, contract, reference.images), roles.position)


def real_anatomy(dark: DarkCheck | None, reference: PictureSet, roles: Roles) -> dict[str, Any]:
    """The check's settings, and its relation to the target in real pictures."""
    if dark is None or roles.target is None:
        return {}
    found: dict[str, Any] = {"dark_fraction": dict(measures.settings_of(dark.fraction))}
    rows = dark.rows(reference)
    if len(rows):
        found["real_age"] = reference.column(roles.target.name)[rows].astype(float)
        found["real_dark"] = dark.fraction(reference.images[rows])
    return found


def quality(item: ReadSet, real: ReadSet, reader: Reader, settings: StudySettings, out: Path) -> measures.Numbers:
    """Distances to the real pictures (of these: between halves), neighbours, diversity."""
    if item is real:
        numbers = reader.floor(item.reading)
    else:
        numbers = reader.distances(item.reading, real.reading)
        numbers |= reader.manifold(item.reading, real.reading, settings.neighbours)
    return numbers | measure_diversity(item, reader, settings, out)


def measure_diversity(item: ReadSet, reader: Reader, settings: StudySettings, out: Path) -> measures.Numbers:
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
    numbers: measures.Numbers = {}
    for matrix, group in ((plain, SSIM), (multi, f"MS-{SSIM} ({scales} scales)")):
        numbers |= measures.diversity(matrix, MetricId(group), pictures.people, **reader.options)
    return numbers


def per_picture(item: ReadSet, reader: Reader, roles: Roles) -> dict[str, list[float]]:
    """Predicted and requested numbers of each picture, and its dark fraction."""
    pairs = zip(reader.probes, item.reading.predictions, strict=True)
    found = {f"predicted {p.metric}": predicted.tolist() for p, predicted in pairs if p.numeric}
    for covariate in roles.numeric:
        if item.pictures.has(covariate.name):
            values = item.pictures.column(covariate.name).astype(float)
            found[f"requested {covariate.name}"] = values.tolist()
    dark = item.reading.dark
    if dark is not None and np.isfinite(dark).sum() >= 3:
        found[DARK] = dark.tolist()
    return found


def measure_anatomy(
    reading: Reading, reader: Reader, roles: Roles, thresholds: tuple[float, float]
) -> measures.Numbers:
    """Dark fraction, tissue fractions and symmetry against the requested target."""
    assert reading.dark is not None
    assert roles.target is not None
    pictures, options = reading.pictures, reader.options
    numbers: measures.Numbers = {}
    requested = pictures.column(roles.target.name).astype(float)
    rows = np.flatnonzero(np.isfinite(reading.dark))
    if len(rows) >= 3:
        people = np.asarray(pictures.people)[rows].tolist()
        numbers |= measures.dark_relation(requested[rows], reading.dark[rows], people, bands=roles.in_years, **options)
    unit = pictures.unit
    mirrored = anatomy.symmetry(unit)
    columns = [*anatomy.tissue_fractions(unit, thresholds).T, *([mirrored] if np.isfinite(mirrored).all() else [])]
    for name, values in zip(TISSUES, columns, strict=False):
        numbers |= measures.relation(name, requested, values, pictures.people, **options)
    return numbers


class Closest:
    """Nearest training pictures of generated pictures against those of held-out people."""

    def __init__(self, held_out: ReadSet, train: PictureSet, reader: Reader) -> None:
        self.options, self.by_features = reader.options, bool(reader.extractors)
        features = extract(reader.extractors[0], train.images, reader.batch_size).values if self.by_features else None
        self.search = memorisation.TrainingSearch(train.unit, features)
        self.held_out = self.look(held_out)
        self.limits = memorisation.limits_of(self.held_out)

    def look(self, item: ReadSet) -> memorisation.Closeness:
        """How near each picture of a set comes to the training pictures."""
        return self.search(item.pictures.unit, item.reading.features[0].values if self.by_features else None)

    def numbers(self, found: memorisation.Closeness, people: Sequence[str]) -> measures.Numbers:
        """Counts and distances beside those of held-out people; picture i of both belongs to people[i]."""
        numbers = memorisation.compare_to_held_out(found, self.held_out, people, **self.options)
        return {str(MetricId(PRIVACY, statistic=name)): number for name, number in numbers.items()}


def per_picture_closeness(found: memorisation.Closeness) -> dict[str, list[float]]:
    """Distance and correlation of fine structure of each picture with its nearest training picture."""
    return {
        "distance to nearest training picture": found.pixels.distance.tolist(),
        "likeness to nearest training picture": found.likeness.tolist(),
    }
