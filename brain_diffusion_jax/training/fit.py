"""One training run of any task: folder, lock, layout, resume, hooks, loop."""

from __future__ import annotations

import base64
import logging
import sys
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from brain_diffusion_jax import files
from brain_diffusion_jax.contract import Contract
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.json_types import require_types
from brain_diffusion_jax.seeds import check_seed
from brain_diffusion_jax.training import hooks, loop
from brain_diffusion_jax.training.assembly import initial_state, step_maker
from brain_diffusion_jax.training.devices import distributed, flops, host, mesh
from brain_diffusion_jax.training.devices.prefetch import Loader, Placed, Prefetch
from brain_diffusion_jax.training.devices.program import memory_gib
from brain_diffusion_jax.training.hooks import Validated
from brain_diffusion_jax.training.run_folder import checkpoints, stopping
from brain_diffusion_jax.training.run_folder.changes import Kept
from brain_diffusion_jax.training.run_folder.metrics import MetricsWriter
from brain_diffusion_jax.training.settings import TrainSettings
from brain_diffusion_jax.training.state import TrainState
from brain_diffusion_jax.training.step import VOTE
from brain_diffusion_jax.training.task import Task

logger = logging.getLogger(__name__)
SKIPPED = "skipped_batches.json"
MOST_ROLLBACKS = 20


@dataclass(frozen=True)
class RunData:
    """loader: of this process's part of endless batches. batch_size: of all processes together.

    validation: stacked arrays (image etc.), measured whole; None: no validation.
    """

    loader: Loader
    batch_size: int
    validation: dict[str, np.ndarray] | None = None


@dataclass(frozen=True)
class RunRecord:
    """What a run folder keeps of how the run was started, and what is shown while it trains.

    kept: settings that may not change when the run goes on. seed: of every random draw.
    profile_steps: length of a trace (0: none).
    """

    config: dict[str, Any]
    contract: Contract | None
    kept: Kept
    seed: int = 0
    show_progress: bool = True
    profile_steps: int = 0


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


def fit(task: Task, run: str | Path, data: RunData, settings: TrainSettings, record: RunRecord) -> Outcome:
    """Train `task` in folder `run`, going on from its last checkpoint if it holds one.

    task.preview is kept in run/samples every settings.sample_every steps. Ctrl-C and SIGTERM save and return; see
    Outcome.exit_code.
    """
    run, record = Path(run), replace(record, seed=check_seed(record.seed, run))
    layout = mesh.make_layout(settings.parallelism, settings.data_parallel, settings.fsdp)
    mesh.require_divisible(data.batch_size, layout.devices, settings.accumulation, jax.process_count())
    distributed.require_agreement({"config": record.config, "batch_size": data.batch_size})
    with stopping.lock(run, jax.process_index() == 0), stopping.Signals() as signals:
        if jax.process_index() == 0:
            checkpoints.require_same_run(run, task.kind, record.config, record.contract, record.kept)
        distributed.barrier("run folder open")
        keep = checkpoints.Keep(settings.keep_last, settings.keep_best, settings.keep_every)
        store = checkpoints.Store(run, keep)
        try:
            return _Fitting(task, run, layout, store, settings, data, record).train(signals)
        finally:
            store.close()


@dataclass
class _Position:
    """Where a start, or a new start after a rollback, begins."""

    state: TrainState
    step: int = 0
    batch: int = 0
    loader_state: Any = None
    window: loop.Window | None = None


@dataclass
class _Fitting:
    """The parts of one run, put together."""

    task: Task
    run: Path
    layout: mesh.Layout
    store: checkpoints.Store
    settings: TrainSettings
    data: RunData
    record: RunRecord
    validated: Validated = field(default_factory=Validated)
    skipped: list[int] = field(default_factory=list)
    rows: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.key = jax.random.key(self.record.seed)
        self.init = initial_state(self.task, self.settings)
        if (self.run / SKIPPED).exists():
            self.skipped = files.read_json(self.run / SKIPPED, "skipped batches", list)
            require_types({"batches": self.skipped}, {"batches": list[int]}, self.run / SKIPPED)

    def start(self) -> _Position:
        """The newest readable checkpoint, or a new state where there is none."""
        key = jax.random.fold_in(self.key, 0)
        restored = self.store.restore(self.layout.abstract(self.init, key))
        if restored is None:
            return _Position(self.layout.create(self.init, key))
        stored, host_state = restored
        seed = self.record.seed
        if host_state.get("seed", seed) != seed:
            raise InputError(self.run, "seed", seed, f"{host_state['seed']}, as the run was started with")
        self.validated = Validated.from_json(host_state.get("judgement", {}))
        step = int(stored.step)
        loader_state = _decode(host_state["loader"]) if host_state.get("loader") is not None else None
        window = loop.Window(**host_state["window"]) if "window" in host_state else None  # 0.1 wrote none
        return _Position(self.layout.load(stored), step, host_state.get("batch", step), loader_state, window)

    def train(self, signals: stopping.Signals) -> Outcome:
        """Steps up to settings.num_steps, or until a reason to stop."""
        s, loader, show_progress = self.settings, self.data.loader, self.record.show_progress
        fresh = loader.get_state()
        position = self.start()
        if position.step and show_progress and jax.process_index() == 0:
            print(f"{self.run}: going on from step {position.step}", file=sys.stderr)
        if s.early_stopping and self.validated.since_best >= s.early_stopping:
            return Outcome(self.run, position.step, hooks.EARLY_STOPPING, {})
        chief = jax.process_index() == 0
        if chief and position.step < s.num_steps:  # only now is it certain that the run goes on with these settings
            record = self.record
            checkpoints.record_run(self.run, self.task.kind, record.config, record.contract, position.step)
        writer = MetricsWriter(self.run, position.step) if chief else None
        bar = _bar(position.step, s.num_steps, show_progress)
        program = self.layout.compile(step_maker(self.task, self.settings, self.layout))
        called = self._hooks(writer, position.step)

        def tick() -> None:
            bar.update(1)
            host.release_memory()

        reporting = loop.Reporting(
            s.log_every,
            lambda step, row: self._log(step, row, program, writer, bar),
            self._on_bad,
            tick,
        )
        try:
            while True:
                loader.set_state(position.loader_state if position.loader_state is not None else fresh)
                prefetch = Prefetch(loader, lambda arrays: self._place(arrays, signals), position.batch, self.skipped)
                try:
                    progress = loop.run(
                        position.state,
                        program,
                        prefetch,
                        self.key,
                        start=position.step,
                        num_steps=s.num_steps,
                        batch_size=self.data.batch_size,
                        reporting=reporting,
                        hooks=called,
                        should_stop=(lambda: signals.reason) if jax.process_count() == 1 else (lambda: ""),
                        voted=stopping.PREEMPTED,
                        begun=position.window,
                    )
                    self.store.wait()
                    return Outcome(self.run, progress.step, progress.stop, self.rows)
                except loop.BadBatch as bad:
                    if s.on_nan != "rollback":
                        raise InputError(self.run, "loss", str(bad), _remedy(self.store)) from bad
                    position = self._roll_back(bad)
                    bar.reset(s.num_steps)
                    bar.update(position.step)
                    if writer is not None:
                        writer.cut(position.step)
                finally:
                    prefetch.close()
        finally:
            bar.close()
            if writer is not None:
                writer.close()

    def _place(self, arrays: dict[str, np.ndarray], signals: stopping.Signals) -> Any:
        """This process's part of a batch, numbered and put on its devices."""
        # A sample's random draws depend on its position in the global batch and on nothing else.
        local = self.data.batch_size // jax.process_count()
        offset = jax.process_index() * local
        extra = {"index": np.arange(offset, offset + local, dtype=np.int32)}
        if jax.process_count() > 1:
            extra[VOTE] = np.full(local, bool(signals.reason), np.float32)
        return self.layout.place({**arrays, **extra})

    def _log(
        self, step: int, row: dict[str, float], program: mesh.AnyProgram, writer: MetricsWriter | None, bar: Any
    ) -> None:
        row = {**row, "learning_rate": float(self.task.learning_rate(step - 1))}
        if (memory := memory_gib()) is not None:
            row["memory_gib"] = memory
        speed = program.flops * row["steps_per_s"]
        row["tflops_per_s"] = speed / 1e12
        peak = self.settings.peak_tflops * 1e12 or flops.peak_flops(jax.devices()[0].device_kind)
        if peak:
            row["model_flops_utilisation"] = speed / (peak * self.layout.devices)
        self.rows = {**self.rows, **row}
        if writer is not None:
            writer.write(step, row)
        names = ("loss", "validation_loss", "images_per_s", "model_flops_utilisation", "data_wait_share", "memory_gib")
        bar.set_postfix({k.replace("_per_s", "/s"): f"{self.rows[k]:.4g}" for k in names if k in self.rows})

    def _on_bad(self, bad: loop.BadBatch) -> None:
        if self.settings.on_nan != "skip":
            raise bad
        logger.warning("%s; its update was left out", bad)

    def _roll_back(self, bad: loop.BadBatch) -> _Position:
        """The state of the last checkpoint, with the bad batch on the list of those to pass over."""
        if len(self.skipped) >= MOST_ROLLBACKS:
            raise InputError(self.run, "loss", f"{bad}, after {MOST_ROLLBACKS} rollbacks", "a run that converges")
        self.store.wait()  # refuses where the folder is gone, which the next line would make anew
        self.skipped.append(bad.batch)
        if jax.process_index() == 0:
            checkpoints.write_json(self.run / SKIPPED, self.skipped)
        self.validated = Validated()
        position = self.start()
        logger.warning("%s; rolled back to step %d, and the batch will be passed over", bad, position.step)
        return position

    def _save(self, progress: loop.Progress) -> None:
        host_state = {
            "seed": self.record.seed,
            "loader": _encode(progress.loader_state),
            "batch": progress.batch,
            "judgement": self.validated.to_json(),
            "window": asdict(progress.window),
        }
        self.store.save(self.layout.stored(progress.state), host_state, self.validated.last)

    def _hooks(self, writer: MetricsWriter | None, first: int) -> list[loop.Hook]:
        s, task = self.settings, self.task
        made = [hooks.trace(self.run, first, self.record.profile_steps)]
        if self.data.validation is not None and s.validate_every:
            measured = hooks.Measured(task.measure, self.data.validation, self.data.batch_size, task.guard)
            rules = hooks.Rules(task.plateau, s.early_stopping)
            made.append(hooks.validation(self.layout, measured, s.validate_every, lambda: self.validated, rules))
        if task.preview is not None and s.sample_every:
            made.append(hooks.previews(self.layout, task.preview, self.run, s.sample_every, writer))
        if s.power_ema and s.snapshot_every:
            made.append(loop.Hook(s.snapshot_every, self._snapshot, at_end=True))
        return [*made, loop.Hook(s.checkpoint_every, self._save, at_end=True, on_stop=True, after_report=True)]

    def _snapshot(self, progress: loop.Progress) -> None:
        self.store.snapshot(progress.step, self.layout.stored(progress.state).power_ema)


def _remedy(store: checkpoints.Store) -> str:
    steps = store.steps()
    return (
        "a finite loss without spikes; train.on_nan=skip leaves such a batch out, rollback goes back first "
        f"(last checkpoint: {steps[-1] if steps else 'none'})"
    )


def _bar(first: int, total: int, show: bool) -> Any:
    from tqdm import tqdm

    hidden = not show or jax.process_index() != 0
    return tqdm(total=total, initial=first, unit="step", disable=hidden, file=sys.stderr, mininterval=1.0)


def _encode(state: Any) -> Any:
    return {"base64": base64.b64encode(state).decode()} if isinstance(state, bytes) else state


def _decode(state: Any) -> Any:
    return base64.b64decode(state["base64"]) if isinstance(state, dict) and set(state) == {"base64"} else state


__all__ = ["Outcome", "Placed", "RunData", "RunRecord", "fit"]
