"""What happens between steps: validation and what hangs on it, previews, snapshots, traces."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from brain_diffusion_jax.array_types import Params
from brain_diffusion_jax.training.devices.mesh import Layout
from brain_diffusion_jax.training.loop import Hook, Progress
from brain_diffusion_jax.training.run_folder.metrics import MetricsWriter
from brain_diffusion_jax.training.run_folder.store import require_folder
from brain_diffusion_jax.training.step import Batch, Metrics
from brain_diffusion_jax.training.task import MeasureFn, Plateau

EARLY_STOPPING = "early stopping"


@dataclass
class Validated:
    """The losses of validation so far; saved in checkpoints. since_*: validations since the best one."""

    last: float | None = None
    best: float = math.inf
    since_best: int = 0
    plateau_best: float = math.inf
    since_plateau: int = 0

    def to_json(self) -> dict[str, Any]:
        return {k: (None if v is None or not math.isfinite(v) else v) for k, v in asdict(self).items()}

    @classmethod
    def from_json(cls, items: Mapping[str, Any]) -> Validated:
        return cls(**{k: v for k, v in items.items() if v is not None})

    def add(self, loss: float, plateau_patience: int) -> bool:
        """Add a validation loss; True when a plateau is over and the learning rate should fall."""
        self.last = loss
        self.since_best = 0 if loss < self.best else self.since_best + 1
        self.best = min(self.best, loss)
        self.since_plateau = 0 if loss < self.plateau_best else self.since_plateau + 1
        self.plateau_best = min(self.plateau_best, loss)
        if plateau_patience and self.since_plateau >= plateau_patience:
            self.since_plateau = 0
            return True
        return False


def batches_of(arrays: dict[str, np.ndarray], batch_size: int) -> list[dict[str, np.ndarray]]:
    """Equal batches with "index" and "weight", the last filled up with its first sample at weight 0."""
    count = len(next(iter(arrays.values())))
    parts = []
    for first in range(0, count, batch_size):
        index = np.arange(first, first + batch_size, dtype=np.int32)
        inside = index < count
        rows = np.where(inside, index, first)
        part = {k: np.asarray(v)[rows] for k, v in arrays.items()}
        parts.append({**part, "index": index, "weight": inside.astype(np.float32)})
    return parts


@dataclass(frozen=True)
class Measured:
    """measure, guard: of the task, on all of `arrays` (stacked), batch_size samples at a time."""

    measure: MeasureFn
    arrays: dict[str, np.ndarray]
    batch_size: int
    guard: Callable[[int, Mapping[str, float]], None] | None = None


@dataclass(frozen=True)
class Rules:
    """What validation changes. plateau: of the learning rate; early_stopping: validations without a better loss."""

    plateau: Plateau
    early_stopping: int


def validation(
    layout: Layout, measured: Measured, every: int, validated: Callable[[], Validated], rules: Rules
) -> Hook:
    """The mean of what is measured, with the averaged weights; lowers the rate on a plateau, stops early."""
    key = jax.random.key(0)  # not of the run's seed: losses of runs are comparable

    def total(params: Params, model_state: Any, batch: Batch) -> Metrics:
        weight = batch["weight"]
        measures = measured.measure(params, model_state, {k: v for k, v in batch.items() if k != "weight"}, key)
        return {k: jnp.sum(v * weight) for k, v in measures.items()}

    compiled = layout.evaluate(total)
    batches = [layout.place_global(batch) for batch in batches_of(measured.arrays, measured.batch_size)]
    count = len(next(iter(measured.arrays.values())))

    def call(progress: Progress) -> None:
        sums = [compiled(progress.state.ema, progress.state.model_state, batch) for batch in batches]
        means = jax.tree.map(lambda *parts: sum(float(part) for part in parts) / count, *sums)
        progress.row.update(means)
        if measured.guard is not None:
            measured.guard(progress.step, means)
        if validated().add(means["validation_loss"], rules.plateau.patience):
            state = progress.state
            progress.state = state.replace(lr_scale=state.lr_scale * rules.plateau.factor)
        if rules.early_stopping and validated().since_best >= rules.early_stopping:
            progress.stop = EARLY_STOPPING

    return Hook(every, call, at_end=True)


def previews(
    layout: Layout, draw: Callable[[Any], np.ndarray], run: Path, every: int, writer: MetricsWriter | None
) -> Hook:
    """draw(averaged parameters) -> uint8 image, into run/samples and TensorBoard."""

    def call(progress: Progress) -> None:
        image = np.asarray(draw(layout.local_params(progress.state.ema)))
        if writer is not None:
            from PIL import Image

            require_folder(run)
            folder = run / "samples"
            folder.mkdir(exist_ok=True)
            Image.fromarray(image).save(folder / f"step_{progress.step:07d}.png")
            writer.image(progress.step, "samples", image)

    return Hook(every, call, at_end=True)


def trace(run: Path, first: int, steps: int) -> Hook:
    """A profiler trace of `steps` steps into run/profile, from the third step of this start on."""

    running = False

    def due(progress: Progress) -> bool:
        last = progress.finished or bool(progress.stop)
        return (progress.step - first == 2 and not last) if not running else progress.step - first >= 2 + steps or last

    def call(progress: Progress) -> None:
        nonlocal running
        jax.block_until_ready(progress.state.step)
        if running:
            jax.profiler.stop_trace()
        else:
            jax.profiler.start_trace(str(run / "profile"))
        running = not running

    return Hook(0, call, when=due if steps else None)
