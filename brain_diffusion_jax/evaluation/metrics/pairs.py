"""Means over random pairs of a set, of different people, with intervals over people."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import jax
import numpy as np
from jaxtyping import Float, Int

from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation.metrics import gradient_ssim, ms_ssim
from brain_diffusion_jax.evaluation.metrics.bootstrap import Estimate, interval
from brain_diffusion_jax.evaluation.metrics.measures import Numbers, keyed
from brain_diffusion_jax.evaluation.metrics.metric_id import MetricId
from brain_diffusion_jax.evaluation.metrics.paired_images import Images, of_pairs

if TYPE_CHECKING:
    from brain_diffusion_jax.array_types import Key

COUNT = 1000  # pairs, as in Pinaya et al. 2022
OF_PAIRS = "of pairs"


def draw_pairs(key: Key, people: Sequence[str], count: int = COUNT) -> Int[np.ndarray, "p 2"]:
    """`count` different pairs of rows (i < j) of different people, drawn by key; all of them where there are no more.

    Raises InputError for count < 1 and where everything is of one person.
    """
    _, person = np.unique(np.asarray(people), return_inverse=True)
    rows, sizes = len(person), np.bincount(person)
    possible = (rows**2 - int((sizes.astype(np.int64) ** 2).sum())) // 2
    if count < 1 or possible < 1:
        found = f"{count} pairs of {len(sizes)} people"
        raise InputError("pairs", "number", found, "at least 1 pair, of at least 2 people")
    if 2 * count >= possible:  # nearly all: list them
        first, second = np.triu_indices(rows, 1)
        allowed = np.flatnonzero(person[first] != person[second])
        chosen = np.asarray(jax.random.permutation(key, len(allowed)))[:count]
        return np.stack([first, second], 1)[np.sort(allowed[chosen])]
    found_pairs = np.zeros((0, 2), int)
    while len(found_pairs) < count:
        key, now = jax.random.split(key)
        drawn = np.sort(np.asarray(jax.random.randint(now, (2 * count, 2), 0, rows)), 1)
        found_pairs = np.concatenate([found_pairs, drawn[person[drawn[:, 0]] != person[drawn[:, 1]]]])
        _, where = np.unique(found_pairs, axis=0, return_index=True)
        found_pairs = found_pairs[np.sort(where)]  # in the order of drawing, so that the first ones stay
    return found_pairs[:count]


def mean_over_pairs(
    values: Float[np.ndarray, " p"],
    pairs: Int[np.ndarray, "p 2"],
    people: Sequence[str],
    *,
    replicates: int = 200,
    seed: int = 0,
) -> Estimate:
    """The mean of pair values, and its interval over resampled people: a pair counts as often as both of its people."""

    def mean(rows: np.ndarray) -> float:
        often = np.bincount(rows, minlength=len(people)).astype(float)
        weight = often[pairs[:, 0]] * often[pairs[:, 1]]
        return float(weight @ values / weight.sum()) if weight.any() else float("nan")

    return interval(mean, people, replicates=replicates, seed=seed)


def metrics_of_pairs(spatial: Sequence[int], reader: str = "") -> list[MetricId]:
    """Of the scores of `score_pairs`: the width of the windows and the number of scales that fit are in the names."""
    names = ms_ssim.SSIM_NAME, ms_ssim.ms_ssim_name(spatial), gradient_ssim.NAME
    return [MetricId(statistic=f"{name} {OF_PAIRS}", reader=reader) for name in names]


def score_pairs(images: Images, pairs: Int[np.ndarray, "p 2"]) -> Float[np.ndarray, "3 p"]:
    """SSIM7, MS-SSIM7 and 4-G-R-SSIM of pairs of stored or unit images [n, *spatial, c]; a memory map is enough."""
    return np.stack(
        [
            *of_pairs(ms_ssim.ssim_and_ms_ssim, images, images, pairs),
            *of_pairs(gradient_ssim.gradient_ssim, images, images, pairs),
        ]
    )


def similarity_of_pairs(
    images: Images,
    people: Sequence[str],
    key: Key,
    *,
    count: int = COUNT,
    replicates: int = 200,
    seed: int = 0,
    reader: str = "",
    score: Callable[[Images, Int[np.ndarray, "p 2"]], Float[np.ndarray, "3 p"]] = score_pairs,
) -> Numbers:
    """Mean SSIM7, MS-SSIM7 and 4-G-R-SSIM over pairs of one set: how alike its images are, between 0 and 1.

    A set of new people should be as diverse as real people: closeness to the number of the real set counts, not height.
    Images smaller than the windows have no numbers. seed: of the resamples. reader: of the keys. score: where scores
    are kept from an earlier call, else `score_pairs`.
    """
    if min(images.shape[1:-1]) < gradient_ssim.SMALLEST:
        return {}
    drawn = draw_pairs(key, people, count)
    estimates = [
        mean_over_pairs(values.astype(np.float64), drawn, people, replicates=replicates, seed=seed)
        for values in score(images, drawn)
    ]
    return keyed(metrics_of_pairs(images.shape[1:-1], reader), estimates)
