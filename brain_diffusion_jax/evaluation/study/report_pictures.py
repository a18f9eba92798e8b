"""The few images that a report shows, kept beside the numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Int

from brain_diffusion_jax import files
from brain_diffusion_jax.data.picture_grid import displayed
from brain_diffusion_jax.evaluation.image_set import ImageSet
from brain_diffusion_jax.evaluation.probes.roles import Roles
from brain_diffusion_jax.evaluation.study.measurement import Material, Measurement
from brain_diffusion_jax.pixels import to_uint8

FILE_NAME = "report_pictures.npz"
COLUMNS, MOST_PAIRS = 10, 12
VOLUMES = "volumes: "  # begins the names of what is kept whole: youngest, middle and oldest of the images shown


def save(material: Material, measured: Measurement, roles: Roles) -> None:
    """Keep images spread over the target of the real ones, and flagged copies with their originals, as displayed."""
    chosen = material.chosen
    order = by_target(chosen, roles, measured.anatomy.get("dark_fraction", {}).get("slice"))
    rows = order[np.unique(np.linspace(0, len(order) - 1, COLUMNS).round().astype(int))]
    labels = [condition_label(chosen.conditions[i], roles) for i in rows]
    arrays: dict[str, np.ndarray] = {"labels": np.array(labels)}
    ends = np.unique([0, len(rows) // 2, len(rows) - 1]) if len(chosen.shape) == 4 else np.zeros(0, int)
    if len(ends):
        arrays[f"{VOLUMES}labels"] = np.array(labels)[ends]
    pairs, captions = [], []
    for item in measured.sets:
        if item.scale is not None or item is measured.sets[0]:
            arrays[item.name] = to_uint8(displayed(item.images.images[rows]))
            if len(ends):
                arrays[VOLUMES + item.name] = to_uint8(item.images.images[rows[ends]])
        for generated, original in measured.privacy.get("scales", {}).get(item.name, {}).get("pairs", [])[:MOST_PAIRS]:
            assert material.train is not None
            both = item.images.images[generated], material.train.images[original]
            pairs.append(displayed(np.stack([to_uint8(image) for image in both])))
            captions.append(f"{item.name}, image {generated}: generated | training")
    if pairs:
        arrays |= {"pairs": np.stack(pairs), "pair_captions": np.array(captions)}
    files.write_npz(material.out / FILE_NAME, **arrays)


def by_target(images: ImageSet, roles: Roles, at_slice: float | None) -> Int[np.ndarray, " n"]:
    """Rows in order of the target, of the slice only where enough images lie there; as they come without a target."""
    if roles.target is None or not images.has(roles.target.name):
        return np.arange(len(images))
    order = np.argsort(images.column(roles.target.name).astype(float), kind="stable")
    if at_slice is None or roles.position is None or not images.has(roles.position.name):
        return order
    there = np.abs(images.column(roles.position.name).astype(float) - at_slice) < 0.5
    return order[there[order]] if there.sum() >= COLUMNS else order


def condition_label(condition: Mapping[str, Any], roles: Roles) -> str:
    """Such as "72 F": the target and the words of a condition."""
    target = None if roles.target is None else condition.get(roles.target.name)
    words = [condition.get(c.name) for c in roles.categorical]
    parts = [*([f"{float(target):.0f}"] if target is not None else []), *(str(w) for w in words if w is not None)]
    return " ".join(parts or [f"{k} {v}" for k, v in condition.items()])
