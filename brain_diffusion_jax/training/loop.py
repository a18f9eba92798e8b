"""The training loop: dispatch a step, look at the one before it, call hooks. It knows no task."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax

from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.training.prefetch import Placed
from brain_diffusion_jax.training.state import TrainState
from brain_diffusion_jax.training.step import StepFn


@dataclass
class Progress:
    """What hooks see after each step. place: the loader's state that yields the next batch.

    row: numbers hooks add to this step's row of metrics.jsonl. stop: a reason, set to end the run.
    """

    step: int
    state: TrainState
    place: Any
    row: dict[str, float] = field(default_factory=dict)
    stop: str = ""


@dataclass(frozen=True)
class Hook:
    """call(progress) after every `every`-th step (0: never), and after the last one if at_end."""

    every: int
    call: Callable[[Progress], None]
    at_end: bool = False


class NotFinite(InputError):
    """The loss or its gradient was NaN or infinite; the state before that step is unharmed."""


@dataclass
class Window:
    """Means of metrics over the steps since the last report, and the rates."""

    batch_size: int
    sums: dict[str, float] = field(default_factory=dict)
    count: int = 0
    waited_s: float = 0.0
    start: float = field(default_factory=time.perf_counter)

    def add(self, metrics: dict[str, Any], waited_s: float) -> None:
        for name, value in metrics.items():
            self.sums[name] = self.sums.get(name, 0.0) + float(value)
        self.count += 1
        self.waited_s += waited_s

    def report(self) -> dict[str, float]:
        seconds = max(time.perf_counter() - self.start, 1e-9)
        means = {k: v / self.count for k, v in self.sums.items()}
        return {
            **means,
            "images_per_s": self.count * self.batch_size / seconds,
            "data_wait_share": self.waited_s / seconds,
        }


def run(
    state: TrainState,
    step_fn: StepFn,
    batches: Iterable[Placed],
    key: Any,
    *,
    start: int,
    num_steps: int,
    batch_size: int,
    log_every: int,
    log: Callable[[int, dict[str, float]], None],
    hooks: Sequence[Hook],
    should_stop: Callable[[], str] = lambda: "",
    on_bad: Callable[[int, dict[str, float]], None] | None = None,
    tick: Callable[[int, float], None] = lambda step, loss: None,
) -> Progress:
    """Steps start+1..num_steps; returns the last Progress, its `stop` telling why it ended early.

    Metrics are fetched one step late, so that the devices always have work. log(step, row) every
    log_every steps and whenever hooks added to the row. on_bad(step, metrics) for a step that was
    not finite; by default raises NotFinite.
    """
    progress = Progress(start, state, None)
    window = Window(batch_size)
    pending: tuple[int, Any, float] | None = None

    def settle(row: dict[str, float]) -> None:
        """Fetch the metrics of the pending step and report."""
        nonlocal pending, window
        if pending is None:
            return
        step, metrics, waited = pending
        pending = None
        values = {k: float(v) for k, v in jax.device_get(metrics).items()}
        if values.get("finite", 1.0) < 1.0 or not math.isfinite(values["loss"]):
            (on_bad or _stop_at_bad)(step, values)
        else:
            window.add(values, waited)
        tick(step, values["loss"])
        if (log_every and step % log_every == 0) or row or step == num_steps:
            log(step, {**(window.report() if window.count else {}), **row})
            window = Window(batch_size)

    if start >= num_steps:
        return progress
    iterator = iter(batches)
    row: dict[str, float] = {}
    for step in range(start + 1, num_steps + 1):
        placed = next(iterator)
        state, metrics = step_fn(state, placed.batch, key)
        settle(row)
        pending = (step, metrics, placed.waited_s)
        progress = Progress(step, state, placed.place)
        progress.stop = should_stop()
        last = step == num_steps or bool(progress.stop)
        for hook in hooks:
            if (hook.every and step % hook.every == 0) or (last and hook.at_end):
                before = time.perf_counter()
                hook.call(progress)
                window.start += time.perf_counter() - before
        row = progress.row
        if progress.stop:
            break
    settle(row)
    return progress


def _stop_at_bad(step: int, metrics: dict[str, float]) -> None:
    raise NotFinite(
        f"step {step}",
        "loss",
        f"loss {metrics['loss']}, gradient norm {metrics.get('grad_norm')} for batch {step - 1}",
        "finite numbers (lower optimizer.learning_rate, or train.on_nan=skip)",
    )
