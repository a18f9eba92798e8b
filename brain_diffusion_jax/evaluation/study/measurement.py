"""From images on disk to the rows of a study: features, probes, statistics."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np

from brain_diffusion_jax.contract import Contract
from brain_diffusion_jax.evaluation.image_set import ImageSet
from brain_diffusion_jax.evaluation.metrics import anatomy, measures, memorisation, ssim
from brain_diffusion_jax.evaluation.metrics.detail import Detail, detail_ratios
from brain_diffusion_jax.evaluation.metrics.measures import Numbers
from brain_diffusion_jax.evaluation.metrics.metric_id import DARK, PRIVACY, SSIM, TISSUES, MetricId
from brain_diffusion_jax.evaluation.metrics.pairs import score_pairs, similarity_of_pairs
from brain_diffusion_jax.evaluation.probes import probe
from brain_diffusion_jax.evaluation.probes.features import Extractor, Features, extract
from brain_diffusion_jax.evaluation.probes.probe import Instruments
from brain_diffusion_jax.evaluation.probes.roles import Roles
from brain_diffusion_jax.evaluation.study import sample_store
from brain_diffusion_jax.evaluation.study.probe_set import DarkCheck, ProbeSet, Reading
from brain_diffusion_jax.evaluation.study.study_result import Row
from brain_diffusion_jax.evaluation.study.study_settings import StudySettings

Tell = Callable[[str, int, int], None]  # stage, done, total
TRAINING = "real, training people"


@dataclass(frozen=True)
class Material:
    """What is measured. chosen: the evaluated real images; train: those that the models learned from, if given;
    out: the folder with the generated ones. contract: of all of them, None where there is none.
    """

    chosen: ImageSet
    train: ImageSet | None
    contract: Contract | None
    out: Path

    def roles(self, instruments: Instruments, settings: StudySettings) -> Roles:
        """What the covariates are to the study, from the contract's schema or from the conditions themselves."""
        schema = self.chosen.schema() if self.contract is None else self.contract.schema
        return instruments.roles(schema, settings.target, settings.position)

    @property
    def known(self) -> ImageSet:
        """Real images that rules may be learned from."""
        return self.chosen if self.train is None else self.train


@dataclass(frozen=True)
class Measurement:
    """The results of a study, as `StudyResult` has them. sets: what the rows were measured of, in their order."""

    rows: list[Row]
    notes: list[str]
    anatomy: dict[str, Any] = field(default_factory=dict)
    privacy: dict[str, Any] = field(default_factory=dict)
    sets: Sequence[Reading] = field(default_factory=list, repr=False)


def measure(material: Material, instruments: Instruments, settings: StudySettings, tell: Tell) -> Measurement:
    """Everything that is measured of the images in `material.out`."""
    roles, train = material.roles(instruments, settings), material.train
    probes = probe.build(instruments, roles, material.chosen, train, settings.batch_size)
    dark = dark_check(settings, material, roles)
    probe_set = ProbeSet(instruments.extractors, probes, dark, settings.bootstrap, settings.seed, settings.batch_size)
    sets = read_sets(material, probe_set, settings, tell)
    real, corrections, fine = sets[0], probe_set.corrections(sets[0]), detail_of(sets[0])
    thresholds = anatomy.tissue_thresholds(material.known.unit) if material.known.shape[-1] == 1 else None
    look = None if train is None else copy_search(train, probe_set)
    held_out = None if look is None else look(real)
    rows, copies = [], {}
    for number, item in enumerate(sets):
        tell("statistics", number, len(sets))
        numbers = quality(item, real, probe_set, settings, material.out)
        if item is not real:
            numbers |= detail_ratios(detail_of(item), fine, **probe_set.options)
        numbers |= probe_set.agreements(item, corrections)
        numbers |= measure_anatomy(item, probe_set, roles, thresholds)
        values = values_of_images(item, probe_set, roles)
        if look is not None and held_out is not None and item.scale is not None:
            near = look(item)
            compared = memorisation.compare_to_held_out(near, held_out, item.images.people, **probe_set.options)
            numbers |= {str(MetricId(PRIVACY, statistic=name)): number for name, number in compared.items()}
            values["distance to nearest training picture"] = near.pixels.distance.tolist()
            values["likeness to nearest training picture"] = near.correlation.tolist()
            pairs = memorisation.copies(near, memorisation.limits_of(held_out))
            copies[item.name] = {"copies": [row for row, _ in pairs], "pairs": pairs}
        people = len(set(item.images.people))
        rows.append(Row(item.name, item.scale, len(item.images), people, numbers, values))
    tell("statistics", len(sets), len(sets))
    notes = notes_on(instruments, settings, roles, real, dark)
    privacy = {} if held_out is None else {"held_out": held_out.pixels.distance, "scales": copies}
    return Measurement(rows, notes, real_anatomy(dark, material.known, roles), privacy, sets)


def read_sets(material: Material, probe_set: ProbeSet, settings: StudySettings, tell: Tell) -> list[Reading]:
    """Readings of the real people, as many training people, and of every scale; features are kept in the folder."""
    chosen, train, out = material.chosen, material.train, material.out
    named: list[tuple[str, float | None, ImageSet]] = [("real", None, chosen)]
    if train is not None:
        generator = np.random.default_rng(settings.seed)
        named.append((TRAINING, None, train[np.sort(generator.permutation(len(train))[: len(chosen)])]))
    for guidance in settings.guidance_scales:
        images = ImageSet(sample_store.read(out, guidance), chosen.conditions, chosen.people)
        named.append((sample_store.scale_name(guidance), guidance, images))
    sets = []
    for number, (name, scale, images) in enumerate(named):
        tell("features", number + 1, len(named))
        checksum = sample_store.fingerprint(_checksum(images))

        def kept(extractor: Extractor, items: ImageSet, name: str = name, checksum: str = checksum) -> Features:
            path = (
                out
                / "features"
                / extractor.name
                / f"{name}-{sample_store.fingerprint(extractor.version, checksum)}.npy"
            )
            compute = lambda: extract(extractor, items.images, settings.batch_size).values  # noqa: E731
            return Features(extractor.name, extractor.version, sample_store.cached(path, compute))

        sets.append(probe_set(images, kept, name=name, scale=scale))
    return sets


def _checksum(images: ImageSet) -> str:
    return hashlib.sha256(np.ascontiguousarray(images.images).tobytes()).hexdigest()


def notes_on(
    instruments: Instruments, settings: StudySettings, roles: Roles, real: Reading, dark: DarkCheck | None
) -> list[str]:
    """What a reader of the numbers must know of how they were measured."""
    notes, target, count = [], roles.target, len(real.images)
    if target is not None and real.images.has(target.name):
        if instruments.predictor is None:
            notes.append(
                f"No {target.name} regressor was given: {target.name} is read by the pixel probe alone, a rough "
                "instrument."
            )
        elif not instruments.fit(target):
            notes.append(f"The regressor reads {instruments.reads}, not {target.name}: its answers were not used.")
        if dark is None:
            missing = "dark fractions" if real.images.shape[-1] == 1 else "dark and tissue fractions"
            notes.append(f"Images of shape {real.images.shape} are no grey slices: they have no {missing}.")
    dimensions = max((f.values.shape[1] for f in real.features), default=0)
    if count <= dimensions:
        notes.append(
            f"{count} images are fewer than the {dimensions} feature dimensions: the Frechet distance is exact "
            "for these sets, but its bias of order 1/N is large. Compare it with the real rows, not with other studies."
        )
    if dark is not None and dark.fraction.slice is not None and dark.position is None:
        notes.append(
            f"The dark fraction is meant for slice {dark.fraction.slice:g}, but no covariate says where a slice lies "
            "(study.position): it was taken of all images."
        )
    return notes


def dark_check(settings: StudySettings, material: Material, roles: Roles) -> DarkCheck | None:
    """The dark-fraction check; None where the target is not known of all images, and of colours and volumes.

    Raises InputError where settings describe a check that such images cannot have.
    """
    chosen, spec = material.chosen, settings.dark_fraction
    if roles.target is None or not chosen.has(roles.target.name) or (spec is None and not chosen.is_grey_slices):
        return None
    return DarkCheck(anatomy.dark_fraction(spec, material.contract, material.known.images), roles.position)


def real_anatomy(dark: DarkCheck | None, reference: ImageSet, roles: Roles) -> dict[str, Any]:
    """The check's settings, and its relation to the target in real images."""
    if dark is None or roles.target is None:
        return {}
    kept: dict[str, Any] = {"dark_fraction": asdict(dark.fraction)}
    rows = dark.rows(reference)
    if len(rows):
        kept["real_age"] = reference.column(roles.target.name)[rows].astype(float)
        kept["real_dark"] = dark.fraction(reference.images[rows])
    return kept


def quality(item: Reading, real: Reading, probe_set: ProbeSet, settings: StudySettings, out: Path) -> Numbers:
    """Distances to the real images (of these: between halves), neighbours, diversity."""
    if item is real:
        numbers = probe_set.floor(item)
    else:
        numbers = probe_set.distances(item, real) | probe_set.manifold(item, real, settings.neighbours)
    return numbers | measure_diversity(item, probe_set, settings, out)


def measure_diversity(item: Reading, probe_set: ProbeSet, settings: StudySettings, out: Path) -> Numbers:
    """SSIM and MS-SSIM over pairs of slices: all of them, or those of a random subset when requested."""
    images, spatial = item.images, item.images.shape[:-1]
    if len(spatial) == 3:
        return similarity_of_volumes(item, probe_set, settings, out)
    most = settings.ssim_pictures or len(images)
    if most < len(images):
        images = images[np.sort(np.random.default_rng(settings.seed).permutation(len(images))[:most])]
    if min(spatial) < ssim.WINDOW:
        return {}
    path = out / "similarity" / f"{item.name}-{sample_store.fingerprint(_checksum(images))}.npy"
    plain, multi = sample_store.cached(path, lambda: np.stack(ssim.ms_pairwise(images.unit)[:2]))
    numbers: Numbers = {}
    for matrix, group in ((plain, SSIM), (multi, f"MS-{SSIM} ({ssim.num_scales(spatial)} scales)")):
        numbers |= measures.diversity(matrix, MetricId(group), images.people, **probe_set.options)
    return numbers


def detail_of(item: Reading) -> Detail:
    """What fine structure the images of a set have."""
    return Detail.of(item.images.images, item.images.people)


def similarity_of_volumes(item: Reading, probe_set: ProbeSet, settings: StudySettings, out: Path) -> Numbers:
    """SSIM7, MS-SSIM7 and 4-G-R-SSIM over random pairs of volumes; scores are kept in the folder."""
    images = item.images
    drawn = sample_store.fingerprint(_checksum(images), settings.pairs, settings.seed)
    path = out / "similarity" / f"{item.name}-pairs-{drawn}.npy"
    return similarity_of_pairs(
        images.images,
        images.people,
        jax.random.key(settings.seed),
        count=settings.pairs,
        score=lambda x, rows: sample_store.cached(path, lambda: score_pairs(x, rows)),
        **probe_set.options,
    )


def values_of_images(item: Reading, probe_set: ProbeSet, roles: Roles) -> dict[str, list[float]]:
    """Predicted and requested numbers of each image, and its dark fraction."""
    pairs = zip(probe_set.probes, item.predictions, strict=True)
    values = {f"predicted {p.metric}": predicted.tolist() for p, predicted in pairs if p.numeric}
    for covariate in roles.numeric:
        if item.images.has(covariate.name):
            values[f"requested {covariate.name}"] = item.images.column(covariate.name).astype(float).tolist()
    if item.dark is not None and np.isfinite(item.dark).sum() >= 3:
        values[DARK] = item.dark.tolist()
    return values


def measure_anatomy(
    item: Reading, probe_set: ProbeSet, roles: Roles, thresholds: tuple[float, float] | None
) -> Numbers:
    """Dark fraction, tissue fractions (with `thresholds`) and symmetry against the requested target, if it is known."""
    images, options = item.images, probe_set.options
    numbers: Numbers = {}
    if roles.target is None or not images.has(roles.target.name):
        return numbers
    requested = images.column(roles.target.name).astype(float)
    if item.dark is not None and len(rows := np.flatnonzero(np.isfinite(item.dark))) >= 3:
        people = np.asarray(images.people)[rows].tolist()
        numbers |= measures.dark_relation(requested[rows], item.dark[rows], people, bands=roles.in_years, **options)
    unit = images.unit
    columns = (
        [] if thresholds is None else list(zip(TISSUES, anatomy.tissue_fractions(unit, thresholds).T, strict=False))
    )
    mirrored = anatomy.symmetry(unit)
    if np.isfinite(mirrored).all():
        columns.append((TISSUES[-1], mirrored))
    for name, values in columns:
        numbers |= measures.relation(name, requested, values, images.people, **options)
    return numbers


def copy_search(train: ImageSet, probe_set: ProbeSet) -> Callable[[Reading], memorisation.Closeness]:
    """What tells how near each image of a set comes to the training images, in pixels and by the first extractor."""
    by_features = bool(probe_set.extractors)
    features = extract(probe_set.extractors[0], train.images, probe_set.batch_size).values if by_features else None
    search = memorisation.TrainingSearch(train.unit, features)
    return lambda item: search(item.images.unit, item.features[0].values if by_features else None)
