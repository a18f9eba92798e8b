"""One training run of any task: folder, lock, layout, resume, hooks, loop."""

from __future__ import annotations

import base64
import logging
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from brain_diffusion_jax.contract import Contract
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.training import checkpoints, loop, mesh, optimizer, stopping
from brain_diffusion_jax.training.metrics import MetricsWriter
from brain_diffusion_jax.training.prefetch import Loader, Prefetch
from brain_diffusion_jax.training.settings import TrainSettings
from brain_diffusion_jax.training.state import TrainState, count_parameters, create
from brain_diffusion_jax.training.step import LossFn, build_step

logger = logging.getLogger(__name__)
# (params, model_state, batch, key) -> {name: [b]}; "validation_loss" must be among the names.
MeasureFn = Callable[[Any, Any, Any, Any], Mapping[str, jax.Array]]


@dataclass(frozen=True)
class Task:
    """What is trained. init(key) -> variables {"params", ...}; measure for validation.

    kind: of the run folder ("diffusion", "age"). make_loss(axis_name): a loss as in `step`; axis_name is
    the mapped axis under pmap, for networks that average over the batch, else None.
    """

    kind: str
    init: Callable[[Any], dict[str, Any]]
    make_loss: Callable[[str | None], LossFn]
    measure: MeasureFn


@dataclass(frozen=True)
class Outcome:
    """How a run ended. reason: "" (all steps done), "interrupted", "preempted" or "early stopping"."""

    run: Path
    step: int
    reason: str
    row: dict[str, float]

    @property
    def exit_code(self) -> int:
        codes = {stopping.INTERRUPTED: stopping.EXIT_INTERRUPTED, stopping.PREEMPTED: stopping.EXIT_PREEMPTED}
        return codes.get(self.reason, 0)


def fit(
    task: Task,
    run: str | Path,
    loader: Loader,
    validation: dict[str, np.ndarray] | None,
    settings: TrainSettings,
    optimizer_settings: optimizer.OptimizerSettings,
    *,
    batch_size: int,
    config: dict[str, Any],
    contract: Contract | None,
    seed: int = 0,
    draw_samples: Callable[[Any], np.ndarray] | None = None,
    show_progress: bool = True,
) -> Outcome:
    """Train `task` in folder `run`, going on from its last checkpoint if it holds one.

    batch_size: of all processes together. validation: stacked arrays (images etc.), measured whole.
    draw_samples: EMA parameters -> uint8 picture, kept in run/samples every settings.sample_every steps.
    Ctrl-C and SIGTERM save and return; see Outcome.exit_code.
    """
    run = Path(run)
    layout = mesh.make_layout(settings.parallelism, settings.data_parallel, settings.fsdp)
    mesh.require_divisible(batch_size, layout.devices, settings.accumulation, jax.process_count())
    with stopping.lock(run), stopping.Signals() as signals:
        checkpoints.open_run(run, task.kind, config, contract)
        keep = checkpoints.Keep(settings.keep_last, settings.keep_best, settings.keep_every)
        store = checkpoints.Checkpoints(run, keep)
        try:
            fitting = _Fitting(task, run, layout, store, settings, optimizer_settings, batch_size, seed)
            return fitting.train(loader, validation, signals, draw_samples, show_progress)
        finally:
            store.close()


class _Fitting:
    """The parts of one run, put together."""

    def __init__(self, task, run, layout, store, settings, optimizer_settings, batch_size, seed) -> None:
        self.task, self.run, self.layout, self.store, self.settings = task, run, layout, store, settings
        self.batch_size, self.seed = batch_size, seed
        self.key = jax.random.key(seed)
        self.tx = optimizer.make(optimizer_settings, settings.num_steps)
        self.rate = optimizer.learning_rate(optimizer_settings, settings.num_steps)
        self.validation_loss: float | None = None

    def init(self, key) -> TrainState:
        return create(self.task.init(key), self.tx, self.settings.power_ema)

    def make_step(self, axis_name: str | None):
        s = self.settings
        return build_step(
            self.task.make_loss(axis_name),
            self.tx,
            ema_decay=s.ema_decay,
            power_ema=s.power_ema,
            accumulation=s.accumulation,
            axis_name=axis_name,
        )

    def start(self, loader: Loader) -> tuple[TrainState, dict[str, Any]]:
        """A new state, or the one of the newest readable checkpoint with the loader put back to its place."""
        state = self.layout.create(self.init, jax.random.fold_in(self.key, 0))
        found = self.store.restore(self.layout.stored(state))
        if found is None:
            return state, {}
        stored, host = found
        if host.get("seed", self.seed) != self.seed:
            raise InputError(self.run, "seed", self.seed, f"{host['seed']}, as the run was started with")
        if host.get("loader") is not None:
            loader.set_state(_decode(host["loader"]))
        self.validation_loss = host.get("validation_loss")
        return self.layout.load(stored), host

    def train(self, loader, validation, signals, draw_samples, show_progress) -> Outcome:
        s = self.settings
        state, _ = self.start(loader)
        first = int(self.layout.stored(state).step)
        if first:
            logger.info("%s: going on from step %d", self.run, first)
        local = self.batch_size // jax.process_count()
        offset = jax.process_index() * local

        def prepare(batch: dict[str, np.ndarray]) -> Any:
            # A sample's random draws depend on its place in the global batch and on nothing else.
            index = np.arange(offset, offset + local, dtype=np.int32)
            return self.layout.place({**batch, "index": index})

        writer = MetricsWriter(self.run, first) if jax.process_index() == 0 else None
        bar = _bar(first, s.num_steps, show_progress)
        hooks = [*self._validation_hooks(validation), *self._sample_hooks(draw_samples, writer)]
        hooks.append(loop.Hook(s.checkpoint_every, self._save, at_end=True))
        rows: dict[str, float] = {}

        def log(step: int, row: dict[str, float]) -> None:
            row = {**row, "learning_rate": float(self.rate(step - 1))}
            rows.update(row)
            if writer is not None:
                writer.write(step, row)
            shown = {k: f"{row[k]:.4g}" for k in ("loss", "validation_loss", "images_per_s") if k in row}
            bar.set_postfix(shown, refresh=False)

        prefetch = Prefetch(loader, prepare)
        try:
            progress = loop.run(
                state,
                self.layout.compile(self.make_step),
                prefetch,
                self.key,
                start=first,
                num_steps=s.num_steps,
                batch_size=self.batch_size,
                log_every=s.log_every,
                log=log,
                hooks=hooks,
                should_stop=lambda: signals.reason,
                tick=lambda step, loss: bar.update(1),
            )
            self.store.wait()
        finally:
            prefetch.close()
            bar.close()
            if writer is not None:
                writer.close()
        return Outcome(self.run, progress.step, progress.stop, rows)

    def _save(self, progress: loop.Progress) -> None:
        host = {"seed": self.seed, "loader": _encode(progress.place), "validation_loss": self.validation_loss}
        self.store.save(self.layout.stored(progress.state), host, self.validation_loss)

    def _validation_hooks(self, validation: dict[str, np.ndarray] | None) -> list[loop.Hook]:
        if validation is None or not self.settings.validate_every:
            return []
        key = jax.random.key(0)  # not of the run's seed: losses of runs are comparable

        def measure(params, model_state, batch):
            weight = batch["weight"]
            found = self.task.measure(params, model_state, {k: v for k, v in batch.items() if k != "weight"}, key)
            return {k: jnp.sum(v * weight) for k, v in found.items()}

        compiled = self.layout.evaluate(measure)
        batches = [self.layout.place_global(b) for b in _batches(validation, self.batch_size)]
        count = len(next(iter(validation.values())))

        def call(progress: loop.Progress) -> None:
            sums = [compiled(progress.state.ema, progress.state.model_state, batch) for batch in batches]
            totals = jax.tree.map(lambda *parts: sum(float(p) for p in parts) / count, *sums)
            progress.row.update(totals)
            self.validation_loss = totals["validation_loss"]

        return [loop.Hook(self.settings.validate_every, call, at_end=True)]

    def _sample_hooks(self, draw: Callable[[Any], np.ndarray] | None, writer: MetricsWriter | None) -> list[loop.Hook]:
        if draw is None or not self.settings.sample_every:
            return []

        def call(progress: loop.Progress) -> None:
            from PIL import Image

            ema = self.layout.stored(progress.state).ema
            picture = draw({k: v for k, v in ema.items() if k != checkpoints.NOT_NETWORK})
            if writer is not None:
                folder = self.run / "samples"
                folder.mkdir(exist_ok=True)
                Image.fromarray(np.asarray(picture)).save(folder / f"step_{progress.step:07d}.png")
                writer.image(progress.step, "samples", np.asarray(picture))

        return [loop.Hook(self.settings.sample_every, call, at_end=True)]


def _batches(arrays: dict[str, np.ndarray], batch_size: int) -> list[dict[str, np.ndarray]]:
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


def _bar(first: int, total: int, show: bool):
    from tqdm import tqdm

    hidden = not show or jax.process_index() != 0
    return tqdm(total=total, initial=first, unit="step", disable=hidden, file=sys.stderr, mininterval=1.0)


def _encode(place: Any) -> Any:
    return {"base64": base64.b64encode(place).decode()} if isinstance(place, bytes) else place


def _decode(place: Any) -> Any:
    return base64.b64decode(place["base64"]) if isinstance(place, dict) and set(place) == {"base64"} else place


__all__ = ["Outcome", "Task", "count_parameters", "fit"]
