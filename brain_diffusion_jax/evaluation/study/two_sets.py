"""A set of pictures beside another one, without a model: what `evaluate` prints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from brain_diffusion_jax.covariates import Schema
from brain_diffusion_jax.evaluation.metrics import measures, ssim
from brain_diffusion_jax.evaluation.metrics.agreement import agreement
from brain_diffusion_jax.evaluation.metrics.measures import Numbers
from brain_diffusion_jax.evaluation.metrics.metric_id import REAL, SSIM, MetricId
from brain_diffusion_jax.evaluation.probes import probe
from brain_diffusion_jax.evaluation.probes.probe import Instruments, PredictFn
from brain_diffusion_jax.evaluation.study.picture_sets import PictureSet, schema_of
from brain_diffusion_jax.evaluation.study.reading import Reader


def equal_sets(sets: Sequence[PictureSet], seed: int) -> list[PictureSet]:
    """As many pictures of each as the smallest has, by a random choice: distances of unequal sets mislead."""
    count = min(map(len, sets))
    generator = np.random.default_rng(seed)
    return [s[np.sort(generator.permutation(len(s))[:count])] for s in sets]


def compare(
    pictures: PictureSet,
    real: PictureSet,
    instruments: Instruments,
    *,
    schema: Schema | None = None,
    replicates: int = 200,
    seed: int = 0,
) -> Numbers:
    """Numbers of `pictures` against as many `real` ones: distances, neighbours, diversity of both, agreement of both.

    schema: of the conditions; None: what they tell themselves. Agreement needs a predictor, and the target's
    value of every picture of a set.
    """
    pictures, real = equal_sets((pictures, real), seed)
    reader = Reader(instruments.extractors, (), None, replicates, seed)
    mine, theirs = reader(pictures), reader(real)
    numbers = {**reader.distances(mine, theirs), **reader.manifold(mine, theirs)}
    for name, item in (("", pictures), (REAL, real)):
        matrix = ssim.pairwise(item.images)[0]
        numbers |= measures.diversity(matrix, MetricId(SSIM, reader=name), item.people, **reader.options)
    for name, item in (("", pictures), (REAL, real)):
        covariate, predict = instruments.roles(schema or schema_of(item)).target, instruments.predictor
        if predict and covariate and instruments.fit(covariate) and item.has(covariate.name):
            own = replace(reader, extractors=(), probes=(probe.of_predictor(covariate, "", predict),))
            numbers |= own.agreements(own(item), reader=name)
    return numbers


def errors(predict: PredictFn, pictures: np.ndarray, asked: Sequence[str | None], target: str) -> dict[str, float]:
    """Columns of a table: errors of pictures [n, rows, cols, 1] whose target was asked for; {} for fewer than two.

    asked: words of a manifest, None or "" where the target was left open.
    """
    wanted = np.array([float(word or "nan") for word in asked])
    known = np.isfinite(wanted)
    if known.sum() < 2:
        return {}
    found = agreement(wanted[known], np.asarray(predict(pictures[known]), np.float64).reshape(-1))
    return {f"{target}_{name}": round(float(getattr(found, name)), 4) for name in ("mae", "rmse", "r")}
