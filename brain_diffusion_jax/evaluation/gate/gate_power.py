"""The power of a gate on the data at hand: real images corrupted on purpose, and how many of each kind it rejects."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Int

from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation.gate import flaws
from brain_diffusion_jax.evaluation.gate.gate import Gate, Seen
from brain_diffusion_jax.evaluation.labelled import Labelled
from brain_diffusion_jax.evaluation.metrics.bootstrap import proportion
from brain_diffusion_jax.evaluation.metrics.class_measures import markdown
from brain_diffusion_jax.pixels import eight_bit, to_uint8

Corruption = Callable[[flaws.Unit, np.random.Generator], flaws.Unit]
Tell = Callable[[str, int, int], None]  # stage, done, total
REAL, WRONG, COPIES, TOUCHED_COPIES = "real, held out", "wrong class", "copies", "copies, shifted and dimmed"


def _flaw(name: str, strength: float) -> Corruption:
    return lambda x, rng: flaws.FLAWS[name].apply(x, np.full(len(x), strength), rng)


def _coarse_grain(x: flaws.Unit, rng: np.random.Generator) -> flaws.Unit:
    from scipy import ndimage

    grain = ndimage.gaussian_filter(rng.standard_normal(x.shape), (0, 1, 1, 0))
    return np.clip(x + 0.06 * grain / grain.std(), 0, 1)


def _jpeg(x: flaws.Unit, rng: np.random.Generator) -> flaws.Unit:
    import io

    from PIL import Image

    if x.shape[-1] not in (1, 3):
        raise InputError("gate: JPEG", "image shape", x.shape[1:], "1 or 3 channels")
    decoded = []
    for image in to_uint8(x):
        file = io.BytesIO()
        Image.fromarray(image if x.shape[-1] == 3 else image[..., 0]).save(file, "JPEG", quality=20)
        decoded.append(np.asarray(Image.open(file), np.float64) / 255)
    return np.stack(decoded).reshape(x.shape)


def _mixed(x: flaws.Unit, rng: np.random.Generator) -> flaws.Unit:
    return (x + np.roll(x, 1, axis=0)) / 2


# The names are keys of gate.json.
CORRUPTIONS: dict[str, Corruption] = {
    **{f"blur, sigma {s:g} pixels": _flaw("blur", s) for s in (0.5, 0.7, 1.0, 1.5)},
    **{f"noise, sigma {s:g}": _flaw("noise", s) for s in (0.01, 0.02, 0.05, 0.1)},
    "grain of 1 pixel, sigma 0.06": _coarse_grain,
    "JPEG of quality 20": _jpeg,
    "two pictures mixed": _mixed,
}


def _cases(
    gate: Gate, reference: Labelled, held: Labelled, most: int, rng: np.random.Generator, tell: Tell
) -> dict[str, tuple[Seen, Int[np.ndarray, " n"]]]:
    """Kind -> (seen, place of each image among the held-out ones, -1 for images of the reference)."""
    labels, classes = np.asarray(held.labels, int), np.unique(reference.labels)
    seen, images_seen = 0, len(labels) + len(CORRUPTIONS) * min(most, len(labels))
    images_seen += 2 * min(most, len(reference.labels))

    def see(images: np.ndarray, labels: np.ndarray) -> Seen:
        nonlocal seen
        tell("images", seen, images_seen)
        seen += len(labels)
        return gate.see(Labelled(images, labels))

    whole = see(held.images, held.labels)
    cases: dict[str, tuple[Seen, np.ndarray]] = {REAL: (whole, np.arange(len(labels)))}
    if len(classes) > 1:
        others = np.array([rng.choice(classes[classes != number]) for number in labels])
        cases[WRONG] = (Seen(**{**vars(whole), "labels": others}), np.arange(len(labels)))
    rows = np.sort(rng.permutation(len(labels))[:most])
    images = np.asarray(held.images, np.float64)[rows]
    for name, corrupt in CORRUPTIONS.items():
        cases[name] = (see(eight_bit(corrupt(images, rng)), labels[rows]), rows)
    some = reference.take(np.sort(rng.permutation(len(reference.labels))[:most]))
    for name, made in ((COPIES, some.images), (TOUCHED_COPIES, 0.9 * np.roll(some.images, 1, axis=2))):
        cases[name] = (see(made, some.labels), np.full(len(made), -1))
    tell("images", seen, images_seen)
    return cases


def power(
    gate: Gate,
    reference: Labelled,
    held: Labelled,
    *,
    partitions: int = 10,
    most: int = 300,
    seed: int = 0,
    progress: Tell | None = None,
) -> dict[str, dict[str, Any]]:
    """Kind of image -> fraction rejected, with its 95 % interval, the range over partitions and the commonest reason.

    held: real images that neither generator nor classifier saw. Each partition sets the limits by one half of
    them and examines the other half, as it is and corrupted; the interval is that of a single half, because the
    partitions share their images. reference: what the gate learned from. progress: (stage, done, total).
    """
    rng, tell = np.random.default_rng(seed), progress or (lambda stage, done, total: None)
    cases = _cases(gate, reference, held, most, rng, tell)
    fractions: dict[str, list[float]] = {name: [] for name in cases}
    counts: dict[str, list[int]] = {name: [] for name in cases}
    reasons: dict[str, Counter[str]] = {name: Counter() for name in cases}
    for number in range(partitions):
        tell("partitions", number, partitions)
        order = rng.permutation(len(held.labels))
        for_limits, examined = order[: len(order) // 2], order[len(order) // 2 :]
        fresh = copy.copy(gate)
        fresh.calibrate(cases[REAL][0].rows(np.sort(for_limits)))
        for name, (seen, places) in cases.items():
            verdicts = fresh.verdicts_of(seen.rows(np.flatnonzero((places < 0) | np.isin(places, examined))))
            fractions[name].append(float((~verdicts.accepted).mean()))
            counts[name].append(len(verdicts.accepted))
            reasons[name].update(first for first, *_ in filter(None, verdicts.reasons))
    tell("partitions", partitions, partitions)
    kinds = {}
    for name, values in fractions.items():
        fraction, count = float(np.mean(values)), int(np.mean(counts[name]))
        estimate = proportion(fraction * count, count)
        kinds[name] = {
            "rejected": fraction,
            "interval": [estimate.low, estimate.high],
            "range": [min(values), max(values)],
            "pictures": count,
            "reason": max(reasons[name], key=reasons[name].__getitem__, default=None),
        }
    return kinds


def table(kinds: dict[str, dict[str, Any]], rate: float) -> str:
    """`power` as a Markdown table."""

    def span(ends: list[float]) -> str:
        return " to ".join(f"{100 * end:.1f}" for end in ends)

    head = ["images", f"rejected at a rate of {100 * rate:g} %", "95 % interval", "partitions", "first reason"]
    rows = (
        [name, f"{100 * row['rejected']:.1f} %", span(row["interval"]), span(row["range"]), row["reason"] or "-"]
        for name, row in kinds.items()
    )
    return markdown(head, rows)
