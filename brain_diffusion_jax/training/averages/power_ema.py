"""Averages of any length after training, from snapshots of power-function averages (Karras et al. 2024, sec. 3.2).

The average of exponent g at step t weighs step tau by p(tau) = (g + 1) tau^g / t^(g + 1), 0 < tau <= t. The
target profile is the least-squares combination of the stored ones; the same combination of the stored
weights is the target average.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from brain_diffusion_jax.array_types import Params
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.training.averages.ema import power_exponent
from brain_diffusion_jax.training.run_folder.checkpoints import numpy_tree, require_finite
from brain_diffusion_jax.training.run_folder.step_folders import damage
from brain_diffusion_jax.training.run_folder.store import SNAPSHOTS
from brain_diffusion_jax.training.state import network_params


def inner_products(
    steps_a: Float[np.ndarray, " a"],
    exponents_a: Float[np.ndarray, " a"],
    steps_b: Float[np.ndarray, " b"],
    exponents_b: Float[np.ndarray, " b"],
) -> Float[np.ndarray, "a b"]:
    """Integrals of p_a p_b over time: (g+1)(h+1) m^(g+h+1) / ((g+h+1) t^(g+1) s^(h+1)), m = min(t, s)."""
    t, g = np.asarray(steps_a, np.float64)[:, None], np.asarray(exponents_a, np.float64)[:, None]
    s, h = np.asarray(steps_b, np.float64)[None], np.asarray(exponents_b, np.float64)[None]
    log = (g + h + 1) * np.log(np.minimum(t, s)) - (g + 1) * np.log(t) - (h + 1) * np.log(s)
    return (g + 1) * (h + 1) / (g + h + 1) * np.exp(log)


def coefficients(
    steps: Float[np.ndarray, " n"], exponents: Float[np.ndarray, " n"], step: float, exponent: float
) -> Float[np.ndarray, " n"]:
    """Least-squares weights of the stored profiles that make up the profile of `exponent` at `step`."""
    gram = inner_products(steps, exponents, steps, exponents)
    right = inner_products(steps, exponents, np.array([step]), np.array([exponent]))[:, 0]
    return np.asarray(np.linalg.lstsq(gram, right, rcond=1e-12)[0])


def snapshots(run: str | Path) -> dict[tuple[int, float], Path]:
    """(step, sigma_rel) -> folder of every stored average of a run."""
    folder = Path(run) / SNAPSHOTS
    folders = sorted(folder.glob("*/sigma_*")) if folder.is_dir() else []
    return {(int(p.parent.name), float(p.name.removeprefix("sigma_"))): p for p in folders if p.parent.name.isdigit()}


def reconstruct(run: str | Path, sigma_rel: float, step: int | None = None) -> Params:
    """Network parameters averaged with relative width sigma_rel up to `step` (None: the last snapshot).

    Raises InputError unless the run kept snapshots (train.power_ema, train.snapshot_every), for a step
    after the last one, and for a damaged snapshot.
    """
    stored = snapshots(run)
    if not stored:
        raise InputError(
            Path(run) / SNAPSHOTS, "snapshots", "none", "a run with train.power_ema and train.snapshot_every"
        )
    if not 0.0 < sigma_rel < 0.28:
        raise InputError("reconstruct", "sigma_rel", sigma_rel, "between 0 and 0.28")
    last = max(s for s, _ in stored)
    wanted = last if step is None else step
    if not 0 < wanted <= last:
        raise InputError(Path(run) / SNAPSHOTS, "step", wanted, f"1 to {last}, the last snapshot")
    keys = [key for key in stored if key[0] > 0]
    weights = coefficients(
        np.array([k[0] for k in keys], np.float64),
        np.array([power_exponent(k[1]) for k in keys]),
        wanted,
        power_exponent(sigma_rel),
    )
    total: Any = None
    for key, weight in zip(keys, weights, strict=True):
        part = jax.tree.map(lambda a, w=weight: w * np.asarray(a, np.float64), _read(stored[key].absolute()))
        total = part if total is None else jax.tree.map(np.add, total, part)
    return network_params(jax.tree.map(lambda a: a.astype(np.float32), total))


def _read(item: Path) -> Params:
    if problem := damage(item.parent, (item.name,)):
        raise InputError(item, "snapshot", f"damaged ({problem})", f"a whole one; or move {item.parent} away")
    tree = numpy_tree(item)
    require_finite(tree, item)
    return tree
