"""What a gate finds on the data at hand: real pictures spoiled on purpose, and how many of each kind it rejects."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np

from brain_diffusion_jax.evaluation.gate import flaws
from brain_diffusion_jax.evaluation.gate.gate import Gate, Pictures, Seen
from brain_diffusion_jax.pixels import eight_bit, to_uint8

Spoil = Callable[[np.ndarray, np.random.Generator], np.ndarray]  # unit pictures [n, r, c] -> the same
REAL, WRONG, COPIES, TOUCHED_COPIES = "real, held out", "wrong class", "copies", "copies, shifted and dimmed"


def _flaw(name: str, strength: float) -> Spoil:
    return lambda x, rng: flaws.FLAWS[name].apply(x, np.full(len(x), strength), rng)


def _coarse_grain(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    from scipy import ndimage

    grain = ndimage.gaussian_filter(rng.standard_normal(x.shape), (0, 1, 1))
    return np.clip(x + 0.06 * grain / grain.std(), 0, 1)


def _jpeg(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    import io

    from PIL import Image

    found = []
    for picture in x:
        file = io.BytesIO()
        Image.fromarray(to_uint8(picture)).save(file, "JPEG", quality=20)
        found.append(np.asarray(Image.open(file), np.float64) / 255)
    return np.stack(found)


def _mixed(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return (x + np.roll(x, 1, axis=0)) / 2


SPOILED: dict[str, Spoil] = {
    **{f"blur, sigma {s:g} pixels": _flaw("blur", s) for s in (0.5, 0.7, 1.0, 1.5)},
    **{f"noise, sigma {s:g}": _flaw("noise", s) for s in (0.01, 0.02, 0.05, 0.1)},
    "grain of 1 pixel, sigma 0.06": _coarse_grain,
    "JPEG of quality 20": _jpeg,
    "two pictures mixed": _mixed,
}


def wilson(hits: float, count: int, z: float = 1.96) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927)."""
    share, wide = hits / count, z * z / count
    middle = (share + wide / 2) / (1 + wide)
    half = z * np.sqrt(share * (1 - share) / count + wide / (4 * count)) / (1 + wide)
    return min(share, max(0.0, float(middle - half))), max(share, min(1.0, float(middle + half)))


def _cases(gate: Gate, reference: Pictures, held: Pictures, most: int, rng: np.random.Generator) -> dict[str, Any]:
    """Kind -> (seen, place of each picture among the held-out ones, -1 for pictures of the reference)."""
    labels, classes = np.asarray(held.labels, int), np.unique(reference.labels)
    whole = gate.see(held)
    cases: dict[str, tuple[Seen, np.ndarray]] = {REAL: (whole, np.arange(len(labels)))}
    if len(classes) > 1:
        others = np.array([rng.choice(classes[classes != word]) for word in labels])
        cases[WRONG] = (Seen(**{**vars(whole), "labels": others}), np.arange(len(labels)))
    rows = np.sort(rng.permutation(len(labels))[:most])
    images = np.asarray(held.images, np.float64)[rows, ..., 0]
    for name, spoil in SPOILED.items():
        made = eight_bit(spoil(images, rng))
        cases[name] = (gate.see(Pictures(made[..., None], labels[rows])), rows)
    some = np.sort(rng.permutation(len(reference.labels))[:most])
    originals = np.asarray(reference.images)[some]
    for name, made in ((COPIES, originals), (TOUCHED_COPIES, 0.9 * np.roll(originals, 1, axis=2))):
        cases[name] = (gate.see(Pictures(made, np.asarray(reference.labels)[some])), np.full(len(some), -1))
    return cases


def power(
    gate: Gate, reference: Pictures, held: Pictures, *, partitions: int = 10, most: int = 300, seed: int = 0
) -> dict[str, dict[str, Any]]:
    """Kind of picture -> share rejected, with its 95 % interval, the range over partitions and the commonest reason.

    held: real pictures that neither generator nor classifier saw. Each partition sets the limits by one half of
    them and judges the other half, as it is and spoiled; the interval is that of a single half, because the
    partitions share their pictures. reference: what the gate learned from.
    """
    rng = np.random.default_rng(seed)
    cases = _cases(gate, reference, held, most, rng)
    shares: dict[str, list[float]] = {name: [] for name in cases}
    counts: dict[str, list[int]] = {name: [] for name in cases}
    reasons: dict[str, dict[str, int]] = {name: {} for name in cases}
    for _ in range(partitions):
        order = rng.permutation(len(held.labels))
        for_limits, judged = order[: len(order) // 2], order[len(order) // 2 :]
        fresh = copy.copy(gate)
        fresh.calibrate(cases[REAL][0].rows(np.sort(for_limits)))
        for name, (seen, places) in cases.items():
            verdicts = fresh.judge_seen(seen.rows(np.flatnonzero((places < 0) | np.isin(places, judged))))
            shares[name].append(float((~verdicts.accepted).mean()))
            counts[name].append(len(verdicts.accepted))
            for words in verdicts.reasons:
                for word in words[:1]:
                    reasons[name][word] = reasons[name].get(word, 0) + 1
    found = {}
    for name, values in shares.items():
        share, count = float(np.mean(values)), int(np.mean(counts[name]))
        low, high = wilson(share * count, count)
        found[name] = {
            "rejected": share,
            "interval": [low, high],
            "range": [min(values), max(values)],
            "pictures": count,
            "reason": max(reasons[name], key=lambda word: reasons[name][word], default=None),
        }
    return found


def table(found: dict[str, dict[str, Any]], rate: float) -> str:
    """`power` as a Markdown table."""
    lines = [f"| pictures | rejected at a rate of {100 * rate:g} % | 95 % interval | partitions | first reason |"]
    lines.append("|" + "---|" * 5)
    for name, row in found.items():
        low, high = (f"{100 * v:.1f}" for v in row["interval"])
        least, most = (f"{100 * v:.1f}" for v in row["range"])
        share = f"{100 * row['rejected']:.1f} %"
        lines.append(f"| {name} | {share} | {low} to {high} | {least} to {most} | {row['reason'] or '-'} |")
    return "\n".join(lines)
