"""A set of images beside another one, without a model: what `evaluate` prints."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import jax
import numpy as np
from jaxtyping import Float

from brain_diffusion_jax.covariates import Schema
from brain_diffusion_jax.evaluation.image_set import ImageSet
from brain_diffusion_jax.evaluation.metrics import measures, ssim
from brain_diffusion_jax.evaluation.metrics.agreement import agreement
from brain_diffusion_jax.evaluation.metrics.measures import Numbers
from brain_diffusion_jax.evaluation.metrics.metric_id import REAL, SSIM, MetricId
from brain_diffusion_jax.evaluation.metrics.pairs import similarity_of_pairs
from brain_diffusion_jax.evaluation.probes import probe
from brain_diffusion_jax.evaluation.probes.features import Extractor, Features, extract
from brain_diffusion_jax.evaluation.probes.probe import Instruments, PredictFn
from brain_diffusion_jax.evaluation.study.probe_set import ProbeSet


def equal_sets(sets: Sequence[ImageSet], seed: int) -> list[ImageSet]:
    """As many images of each as the smallest has, by a random choice: distances of unequal sets mislead."""
    count = min(map(len, sets))
    generator = np.random.default_rng(seed)
    return [s[np.sort(generator.permutation(len(s))[:count])] for s in sets]


def compare(
    images: ImageSet,
    real: ImageSet,
    instruments: Instruments,
    *,
    schema: Schema | None = None,
    replicates: int = 200,
    seed: int = 0,
    progress: Callable[[str, int, int], None] | None = None,
) -> Numbers:
    """Numbers of `images` against as many `real` ones: distances, neighbours, diversity of both, agreement of both.

    schema: of the conditions; None: what these themselves say. Agreement needs a predictor, and the target's
    value of every image of a set. progress: (stage, done, total).
    """
    tell = progress or (lambda stage, done, total: None)
    images, real = equal_sets((images, real), seed)
    probe_set = ProbeSet(instruments.extractors, (), None, replicates, seed)

    def read(extractor: Extractor, items: ImageSet) -> Features:
        return extract(extractor, items.images, probe_set.batch_size, partial(tell, extractor.name))

    mine, theirs = probe_set(images, read), probe_set(real, read)
    tell("distances", 0, 2)
    numbers = probe_set.distances(mine, theirs)
    tell("distances", 1, 2)
    numbers |= probe_set.manifold(mine, theirs)
    tell("distances", 2, 2)
    both = (("", images), (REAL, real))
    for number, (name, item) in enumerate(both):
        tell("diversity", number, len(both))
        if len(item.shape) == 4:
            key = jax.random.key(seed)
            numbers |= similarity_of_pairs(item.images, item.people, key, reader=name, **probe_set.options)
        else:
            matrix = ssim.pairwise(item.images)[0]
            numbers |= measures.diversity(matrix, MetricId(SSIM, reader=name), item.people, **probe_set.options)
        tell("diversity", number + 1, len(both))
    for name, item in both:
        target, predict = instruments.roles(schema or item.schema()).target, instruments.predictor
        if predict and target and instruments.fit(target) and item.has(target.name):
            own = replace(probe_set, extractors=(), probes=(probe.of_predictor(target, "", predict),))
            numbers |= own.agreements(own(item), reader=name)
    return numbers


def errors(
    predict: PredictFn, images: Float[np.ndarray, "n *spatial c"], requested: Sequence[str | None], target: str
) -> dict[str, float]:
    """Columns of a table: errors of images whose target was requested; {} for fewer than two.

    requested: words of a manifest, None or "" where the target was left open.
    """
    wanted = np.array([float(word or "nan") for word in requested])
    known = np.isfinite(wanted)
    if known.sum() < 2:
        return {}
    line = agreement(wanted[known], np.asarray(predict(images[known]), np.float64).reshape(-1))
    return {f"{target}_{name}": round(float(getattr(line, name)), 4) for name in ("mae", "rmse", "r")}
