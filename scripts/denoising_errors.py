"""Where a diffusion model errs: the error of its x0 by noise level, beside two denoisers that need no network.

    python scripts/denoising_errors.py runs/a runs/b --data shards/oasis --split validation

Errors are mean squares, each divided by the variance of the codes (1 is what the mean of all would make). gauss: the
best linear denoiser of a normal distribution with the training codes' mean and covariance (Wiener; small eigenvalues
stay above the mean of those left out). nearest: the best denoiser of the training codes themselves, a weighted
mean of them (De Bortoli 2022, eq. 6): a network that comes near to it on training people only has them by heart.
Models that work under the same codec compare; those of pixels and of latents do not.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

import brain_diffusion_jax as bdj
from brain_diffusion_jax.array_types import Level
from brain_diffusion_jax.data.shards.reader import read_all
from brain_diffusion_jax.diffusion.process import Process
from brain_diffusion_jax.pixels import to_unit
from brain_diffusion_jax.training.step import sample_keys

LOG_SNRS = (8.0, 6.0, 4.0, 2.0, 0.0, -2.0, -4.0, -6.0)
RANK = 300
BATCH = 16


def codes(model: bdj.Model, images: np.ndarray, seed: int = 0) -> np.ndarray:
    """What the model's network adds noise to, for images uint8 [n, *spatial, c]."""
    encode = jax.jit(model.codec.encode)
    keys = sample_keys(jax.random.key(seed), jnp.arange(len(images)))
    parts = [
        np.asarray(encode(to_unit(images[i : i + BATCH]), keys[i : i + BATCH])) for i in range(0, len(images), BATCH)
    ]
    return np.concatenate(parts)


def gaussian(train: np.ndarray) -> Callable[[Array, Level], Array]:
    """E[x0 | x] of a normal distribution fitted to `train`."""
    mean = train.mean(axis=0)
    _, scores, axes = np.linalg.svd(train - mean, full_matrices=False)
    variances = scores**2 / len(train)
    rest = variances[RANK:].sum() / max(train.shape[1] - RANK, 1)
    axes, variances = jnp.asarray(axes[:RANK]), jnp.asarray(np.maximum(variances[:RANK], rest))

    def denoise(x: Array, level: Level) -> Array:
        def gain(v: Array | float) -> Array:
            return jnp.asarray(level.alpha * v / (level.alpha**2 * v + level.sigma**2))

        from_mean = x - level.alpha * mean
        along = from_mean @ axes.T
        return mean + (along * gain(variances)) @ axes + (from_mean - along @ axes) * gain(rest)

    return denoise


def nearest(train: np.ndarray) -> Callable[[Array, Level], Array]:
    """E[x0 | x] of the training codes, each as likely as any other."""
    known = jnp.asarray(train)

    def denoise(x: Array, level: Level) -> Array:
        apart = jnp.sum((x[:, None] / level.alpha - known[None]) ** 2, axis=-1) * (level.alpha / level.sigma) ** 2
        return jnp.asarray(jax.nn.softmax(-apart / 2, axis=-1) @ known)

    return denoise


def errors(denoise: Callable[[Array, Level, int], Array], process: Process, x0: np.ndarray) -> list[float]:
    """Mean squared error of x0 at each of LOG_SNRS; the same noise for every denoiser."""
    found = []
    for number, log_snr in enumerate(LOG_SNRS):
        level = process.table.at_log_snr(np.asarray(log_snr))
        total = 0.0
        for i in range(0, len(x0), BATCH):
            clean = jnp.asarray(x0[i : i + BATCH])
            eps = jax.random.normal(jax.random.fold_in(jax.random.key(number), i), clean.shape)
            made = denoise(level.alpha * clean + level.sigma * eps, level, i)
            total += float(jnp.sum((made - clean) ** 2))
        found.append(total / x0.size)
    return found


def main(words: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+")
    parser.add_argument("--data", required=True, help="shards of the images")
    parser.add_argument("--split", default="validation")
    parser.add_argument("--only-runs", action="store_true", help="without the two denoisers that need no network")
    given = parser.parse_args(words)
    people = {split: read_all(given.data, split) for split in ("train", given.split)}
    print("log SNR".ljust(34), *(f"{value:8.0f}" for value in LOG_SNRS))
    for place, run in enumerate(given.runs):
        model = bdj.load(run)
        x0 = {split: codes(model, its["image"]) for split, its in people.items()}
        scale, count = x0["train"].var(axis=0).mean(), len(x0[given.split])
        rows = {}
        if place == 0 and not given.only_runs:
            for name, make in (("gauss", gaussian), ("nearest", nearest)):
                rows[name] = errors(_flat(make, x0["train"]), model.process, x0[given.split])
        for split in (given.split, "train"):
            rows[f"{run} {split}"] = errors(_told(model, people[split]), model.process, x0[split][:count])
        for name, row in rows.items():
            print(name[-34:].ljust(34), *(f"{value / scale:8.4f}" for value in row), flush=True)


def _flat(make: Callable[..., Callable[[Array, Level], Array]], train: np.ndarray) -> Callable[..., Array]:
    of_rows = jax.jit(make(train.reshape(len(train), -1)))
    return lambda x, level, i: of_rows(x.reshape(len(x), -1), level).reshape(x.shape)


def _told(model: bdj.Model, people: dict[str, np.ndarray]) -> Callable[..., Array]:
    """The model's denoiser, told the conditions of the people at i, i + 1, ..."""
    call = jax.jit(lambda denoise, x, level, condition: denoise(x, level, condition).x0)

    def denoise(x: Array, level: Level, i: int) -> Array:
        values, present = (jnp.asarray(people[name][i : i + len(x)]) for name in ("values", "present"))
        return jnp.asarray(call(model.denoise, x, level, (values, present)))

    return denoise


if __name__ == "__main__":
    main()
