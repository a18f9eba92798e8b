"""PCA-Gauss: the baseline without a network that every table of a conditional model holds.

Images are mean + scores @ basis (principal components of training images); scores are a linear regression on
[1, covariates] plus a Gaussian residual with the full covariance of the regression's residuals:

  s = [1, z(c)] W + e,  e ~ N(0, R^T R / (n - p)),  R the residuals of n training images, p the rank of [1, z].

A model that follows conditions no better than this has learned no more of them than a linear relation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import jax
import numpy as np
from jaxtyping import Bool, Float

from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation.metrics.components import Components, principal_components
from brain_diffusion_jax.evaluation.metrics.paired_images import Images

if TYPE_CHECKING:
    from brain_diffusion_jax.array_types import Key
    from brain_diffusion_jax.covariates import Condition

COMPONENTS = 100


def one_hot(
    condition: Condition, cardinalities: tuple[int, ...]
) -> tuple[Float[np.ndarray, "n d"], Bool[np.ndarray, "n d"]]:
    """Columns of encoded conditions, and where they are known: a number as it is, a word as 0/1 of each category."""
    values, present = np.asarray(condition.values, np.float64), np.asarray(condition.present, bool)
    columns, known = [np.zeros((len(values), 0))], [np.zeros((len(values), 0), bool)]
    for index, categories in enumerate(cardinalities):
        value = values[:, index : index + 1]
        columns.append((value == np.arange(categories)).astype(float) if categories else value)
        known.append(np.repeat(present[:, index : index + 1], max(categories, 1), 1))
    return np.concatenate(columns, 1), np.concatenate(known, 1)


@dataclass(frozen=True)
class PcaGauss:
    """components: of the training images; weights [1 + d, k]; root [k, k], root^T root the residual covariance;
    absent [d]: what stands for a covariate that is not given, its mean in training.
    """

    components: Components
    weights: np.ndarray
    root: np.ndarray
    absent: np.ndarray
    cardinalities: tuple[int, ...]

    def mean_scores(self, condition: Condition) -> Float[np.ndarray, "n k"]:
        """Scores without the residual."""
        columns, known = one_hot(condition, self.cardinalities)
        return np.where(known, columns, self.absent) @ self.weights[1:] + self.weights[0]

    def sample(self, condition: Condition, key: Key, start: int = 0) -> Float[np.ndarray, "n *spatial c"]:
        """float32 in [0, 1], one a condition. Image i depends on the key, start + i and its condition alone."""
        scores = self.mean_scores(condition)
        keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(start + np.arange(len(scores)))
        noise = np.asarray(jax.vmap(lambda k: jax.random.normal(k, (len(self.root),)))(keys), np.float64)
        return np.clip(self.components.restore(scores + noise @ self.root), 0, 1)


def fit(images: Images, condition: Condition, cardinalities: tuple[int, ...], components: int = COMPONENTS) -> PcaGauss:
    """From training images [n, *spatial, c], stored or unit, and their encoded conditions; see `components` on memory.

    Raises InputError for conditions that do not count the images, and for too few images to tell residuals by.
    """
    columns, known = one_hot(condition, cardinalities)
    if len(columns) != len(images):
        raise InputError("PCA-Gauss", "conditions", len(columns), f"{len(images)}, one for each image")
    found = principal_components(images, components)
    absent = np.where(known, columns, 0).sum(0) / np.maximum(known.sum(0), 1)
    design = np.column_stack([np.ones(len(columns)), np.where(known, columns, absent)])
    scores = found.scores(images)
    weights, _, rank, _ = np.linalg.lstsq(design, scores, rcond=None)
    freedom = len(images) - int(rank)
    if freedom < 1:
        raise InputError("PCA-Gauss", "images", len(images), f"more than {rank}, the numbers that are fitted")
    root = np.linalg.qr(scores - design @ weights, mode="r") / np.sqrt(freedom)  # type: ignore[operator]
    square = np.zeros((root.shape[1], root.shape[1]))
    square[: len(root)] = root
    return PcaGauss(found, weights, square, absent, tuple(cardinalities))
