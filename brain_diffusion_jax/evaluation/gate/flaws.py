"""Detectors of known flaws, learned by doing them to real images.

How sharp and how quiet real images are differs from one to the next, so that no fixed measure of either
shows a slight flaw. A detector compares every `texture` of images as they are and after the flaw.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from brain_diffusion_jax.evaluation.metrics.texture import texture

Unit = Float[np.ndarray, "n rows cols c"]


def blur(images: Unit, strength: Float[np.ndarray, " n"], rng: np.random.Generator) -> Unit:
    """Gaussian blur; strength: standard deviation in pixels, of each image."""
    from scipy import ndimage

    pairs = zip(images, strength, strict=True)
    return np.stack([ndimage.gaussian_filter(x, (s, s, 0), mode="nearest") for x, s in pairs])


def noise(images: Unit, strength: Float[np.ndarray, " n"], rng: np.random.Generator) -> Unit:
    """White Gaussian noise; strength: standard deviation in unit intensity, of each image."""
    return np.clip(images + strength[:, None, None, None] * rng.standard_normal(images.shape), 0, 1)


@dataclass(frozen=True)
class Flaw:
    """apply(images, strengths, rng); strengths are drawn from low to high, evenly on a logarithmic scale."""

    apply: Callable[[Unit, np.ndarray, np.random.Generator], Unit]
    low: float
    high: float

    def draw(self, images: Unit, rng: np.random.Generator) -> Unit:
        """The images with the flaw, each in a strength of its own."""
        strength = np.exp(rng.uniform(np.log(self.low), np.log(self.high), len(images)))
        return self.apply(images, strength, rng)


# Slight ones: a linear score that finds these finds stronger ones too.
FLAWS = {"noise": Flaw(noise, 0.012, 0.06), "blur": Flaw(blur, 0.45, 1.2)}
_MOST = 1500  # images to learn a flaw from
_RIDGE = 10.0
_SHRINKAGE = 0.1  # of the covariance of textures towards independence
_REACH = 8.0  # standard deviations of real images beyond which a texture says no more


@dataclass(frozen=True)
class Textures:
    """Textures in standard deviations of the real images that `mean` and `spread` were learned from."""

    mean: np.ndarray = field(repr=False)
    spread: np.ndarray = field(repr=False)

    def __call__(self, rows: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
        return np.clip((rows - self.mean) / self.spread, -_REACH, _REACH)


def logistic(rows: Float[np.ndarray, "n d"], wanted: Float[np.ndarray, " n"], steps: int = 20) -> np.ndarray:
    """[1 + d] offset and weights of a ridge logistic regression, by Newton's method."""
    known = np.column_stack([np.ones(len(rows)), rows])
    ridge = np.diag([1e-6, *[_RIDGE] * rows.shape[1]])
    weights = np.zeros(known.shape[1])
    for _ in range(steps):
        p = 1 / (1 + np.exp(-np.clip(known @ weights, -30, 30)))
        curvature = known.T @ (known * (p * (1 - p) + 1e-6)[:, None]) + ridge
        step = np.linalg.solve(curvature, known.T @ (wanted - p) - ridge @ weights)
        weights = weights + step
        if np.abs(step).max() < 1e-6:
            break
    return weights


class Detectors:
    """Scores of every flaw of FLAWS, larger where an image looks more like flawed ones than like real ones."""

    def __init__(self, images: Unit, rows: Float[np.ndarray, "n d"], seed: int = 0) -> None:
        """images: real ones, unit; rows: their `texture`."""
        rng = np.random.default_rng(seed)
        self.standard = Textures(rows.mean(0), np.maximum(rows.std(0), 1e-3))
        chosen = np.sort(rng.permutation(len(images))[:_MOST])
        real = self.standard(rows)
        spread = (1 - _SHRINKAGE) * np.cov(real, rowvar=False) + _SHRINKAGE * np.eye(real.shape[1])
        self.whitening = np.linalg.cholesky(np.linalg.inv(spread))
        self.weights = {}
        for name, flaw in FLAWS.items():
            flawed = self.standard(texture(flaw.draw(images[chosen], rng)))
            wanted = np.r_[np.zeros(len(real)), np.ones(len(flawed))]
            self.weights[name] = logistic(np.concatenate([real, flawed]), wanted)

    def __call__(self, rows: Float[np.ndarray, "n d"]) -> dict[str, Float[np.ndarray, " n"]]:
        """Log odds of each flaw, from textures."""
        standard = self.standard(rows)
        return {name: w[0] + standard @ w[1:] for name, w in self.weights.items()}

    def oddness(self, rows: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
        """Distance from the textures of real images (Mahalanobis): flaws that no detector knows."""
        return np.linalg.norm(self.standard(rows) @ self.whitening, axis=1)
