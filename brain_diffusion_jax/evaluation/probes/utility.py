"""Are synthetic images good enough to learn from? Train on them, test on real held-out people."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation.image_set import ImageSet
from brain_diffusion_jax.evaluation.metrics.agreement import agreement
from brain_diffusion_jax.evaluation.probes.features import unit_batches
from brain_diffusion_jax.evaluation.probes.pixel_probe import numeric_probe
from brain_diffusion_jax.pixels import to_uint8

Predictor = Callable[[np.ndarray], np.ndarray]
# (images [n, *spatial, c], targets [n], people [n], seed) -> images -> predictions
TrainFn = Callable[[np.ndarray, np.ndarray, np.ndarray, int], Predictor]


def pixel_trainer(images: np.ndarray, targets: np.ndarray, people: np.ndarray, seed: int) -> Predictor:
    """The pixel probe on a resample of the people: seconds, no network."""
    generator = np.random.default_rng(seed)
    names = np.unique(people)
    kept = set(generator.choice(names, max(2, round(0.9 * len(names))), replace=False))
    rows = np.array([i for i, person in enumerate(people) if person in kept])
    return numeric_probe(images[rows], targets[rows], people[rows])


def network_trainer(
    make_network: Callable[[float, float], Any],
    *,
    num_steps: int = 400,
    batch_size: int = 32,
    learning_rate: float = 2e-3,
) -> TrainFn:
    """A TrainFn for a linen regressor made by make_network(mean age, spread): AdamW, cosine, mirrored images.

    The network is called as module.apply(variables, unit images [b, *spatial, c], train=bool).
    """
    import optax

    def train(images: np.ndarray, targets: np.ndarray, people: np.ndarray, seed: int) -> Predictor:
        spread = max(float(targets.std()), 1.0)
        module = make_network(float(targets.mean()), spread)
        key = jax.random.key(seed)
        generator = np.random.default_rng(seed)
        size = min(batch_size, len(images))
        first = next(unit_batches(images[:size], size))
        variables = dict(jax.jit(module.init)(key, first))
        params, state = variables.pop("params"), variables
        optimizer = optax.adamw(optax.cosine_decay_schedule(learning_rate, num_steps), weight_decay=0.01)
        moments = optimizer.init(params)

        @jax.jit
        def step(params: Any, state: Any, moments: Any, batch: jax.Array, ages: jax.Array, key: jax.Array) -> tuple:
            def loss(params: Any) -> tuple[jax.Array, Any]:
                predicted, changed = module.apply(
                    {"params": params, **state}, batch, train=True, rngs={"dropout": key}, mutable=list(state)
                )
                return jnp.mean(((predicted - ages) / spread) ** 2), changed

            grads, changed = jax.grad(loss, has_aux=True)(params)
            updates, moved = optimizer.update(grads, moments, params)
            return optax.apply_updates(params, updates), changed, moved

        for number in range(num_steps):
            rows = generator.integers(len(images), size=size)
            batch = next(unit_batches(images[rows], size))
            flipped = generator.random((size, *[1] * (batch.ndim - 1))) < 0.5
            mirrored = np.where(flipped, np.flip(batch, 1 if batch.ndim == 5 else 2), batch)
            ages = np.asarray(targets[rows], np.float32)
            params, state, moments = step(params, state, moments, mirrored, ages, jax.random.fold_in(key, number))

        predict = jax.jit(lambda batch: module.apply({"params": params, **state}, batch, train=False))

        def predictor(images: np.ndarray) -> np.ndarray:
            parts = []
            for batch in unit_batches(images, size):
                filled = np.concatenate([batch, np.repeat(batch[:1], size - len(batch), axis=0)])
                parts.append(np.asarray(predict(filled))[: len(batch)])
            return np.concatenate(parts).astype(np.float64)

        return predictor

    return train


def utility(
    train_fn: TrainFn,
    real_train: ImageSet,
    synthetic: Mapping[str, ImageSet],
    real_test: ImageSet,
    covariate: str,
    *,
    seeds: Sequence[int] = (0, 1, 2),
    progress: Callable[[str], None] | None = None,
) -> list[dict[str, Any]]:
    """Error of `covariate` on real test people after training on real, on each synthetic set, and on both together.

    Each entry: name, num_train, seeds, and mae and r as {value: mean over seeds, low, high: their range}.
    "real, as many" has no more images than the synthetic sets, so that equal numbers are compared.
    """
    if not synthetic or not seeds:
        raise InputError("utility", "synthetic sets, seeds", (len(synthetic), len(seeds)), "at least one of each")
    if set(real_train.people) & set(real_test.people):
        raise InputError("utility", "people", "the same people in training and test", "people on one side only")
    count = min(len(images) for images in synthetic.values())
    rows = np.sort(np.random.default_rng(0).permutation(len(real_train))[:count])
    sets: dict[str, list[ImageSet]] = {"real": [real_train], "real, as many": [real_train[rows]]}
    for name, images in synthetic.items():
        sets[f"synthetic {name}"] = [images]
        sets[f"real + synthetic {name}"] = [real_train, images]
    truth = real_test.column(covariate).astype(float)
    table = []
    for name, parts in sets.items():
        # Rounded to 8 bits, so that real and synthetic images have been through the same.
        shown = np.concatenate([to_uint8(part.images) for part in parts])
        targets = np.concatenate([part.column(covariate).astype(float) for part in parts])
        people = np.concatenate([np.asarray(part.people, str) for part in parts])
        scores = []
        for seed in seeds:
            if progress is not None:
                progress(f"{name}, seed {seed}")
            scores.append(agreement(truth, train_fn(shown, targets, people, seed)(to_uint8(real_test.images))))
        item: dict[str, Any] = {"name": name, "num_train": len(shown), "seeds": len(seeds)}
        for metric in ("mae", "r"):
            values = [getattr(score, metric) for score in scores]
            item[metric] = {"value": float(np.mean(values)), "low": float(min(values)), "high": float(max(values))}
        table.append(item)
    return table
