"""The training loop: dispatch a step, look at the one before it, call hooks. It knows no task."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax

from brain_diffusion_jax.training.prefetch import Placed
from brain_diffusion_jax.training.state import TrainState
from brain_diffusion_jax.training.step import VOTE, StepFn


@dataclass
class Progress:
    """What hooks see after each step. place: the loader's state that yields the next batch; batch: its number.

    row: numbers hooks add to this step's row of metrics.jsonl. stop: a reason, set to end the run; a
    hook may replace `state`. finished: this was the last step of a run that was not cut short.
    """

    step: int
    state: TrainState
    place: Any = None
    batch: int = 0
    row: dict[str, float] = field(default_factory=dict)
    stop: str = ""
    finished: bool = False


@dataclass(frozen=True)
class Hook:
    """call(progress) after every `every`-th step (0: never), at the end of a whole run if at_end, and
    when a run is cut short if on_stop. after_report: only once the step's row is written, so that a
    process killed after a save has lost no row before it."""

    every: int
    call: Callable[[Progress], None]
    at_end: bool = False
    on_stop: bool = False
    after_report: bool = False

    def due(self, progress: Progress) -> bool:
        regular = self.every > 0 and progress.step % self.every == 0
        return regular or (self.at_end and progress.finished) or (self.on_stop and bool(progress.stop))


class BadBatch(Exception):
    """The step on a batch was not accepted: not finite, or a spike. The state is as it was before it."""

    def __init__(self, step: int, batch: int, metrics: dict[str, float]) -> None:
        self.step, self.batch, self.metrics = step, batch, metrics
        super().__init__(
            f"step {step}, batch {batch}: loss {metrics['loss']:.6g}, gradient norm {metrics['grad_norm']:.6g}"
        )


@dataclass
class Window:
    """Means of metrics over the accepted steps since the last report, and the rates."""

    batch_size: int
    sums: dict[str, float] = field(default_factory=dict)
    count: int = 0
    accepted: int = 0
    waited_s: float = 0.0
    start: float = field(default_factory=time.perf_counter)

    def add(self, metrics: dict[str, float], accepted: bool, waited_s: float) -> None:
        self.count += 1
        self.waited_s += waited_s
        if accepted:
            self.accepted += 1
            for name, value in metrics.items():
                self.sums[name] = self.sums.get(name, 0.0) + value

    def report(self) -> dict[str, float]:
        seconds = max(time.perf_counter() - self.start, 1e-9)
        rows = {k: v / max(self.accepted, 1) for k, v in self.sums.items()}
        if self.accepted < self.count:
            rows["rejected_steps"] = float(self.count - self.accepted)
        rows["images_per_s"] = self.count * self.batch_size / seconds
        rows["steps_per_s"] = self.count / seconds
        rows["data_wait_share"] = min(self.waited_s / seconds, 1.0)
        return rows


@dataclass(frozen=True)
class Reporting:
    """log(step, row) every log_every steps and whenever hooks added to the row; tick() after every step.

    on_bad(BadBatch): called for a step that was not accepted; may raise.
    """

    log_every: int
    log: Callable[[int, dict[str, float]], None]
    on_bad: Callable[[BadBatch], None]
    tick: Callable[[], None] = lambda: None


def run(
    state: TrainState,
    step_fn: StepFn,
    batches: Iterable[Placed],
    key: Any,
    *,
    start: int,
    num_steps: int,
    batch_size: int,
    reporting: Reporting,
    hooks: Sequence[Hook] = (),
    should_stop: Callable[[], str] = lambda: "",
    voted: str = "",
) -> Progress:
    """Steps start+1..num_steps; returns the last Progress, its `stop` telling why it ended early.

    Metrics are fetched one step late, so that the devices always have work. voted: the reason to stop
    for when any process voted so in its batch; should_stop asks this process alone.
    """
    progress = Progress(start, state)
    window = Window(batch_size)
    pending: tuple[Progress, Any, float] | None = None
    vote = ""

    def settle() -> None:
        """Fetch the metrics of the pending step and report them, with what hooks added to its row."""
        nonlocal pending, window, vote
        if pending is None:
            return
        (done, metrics, waited), pending = pending, None
        values = {k: float(v) for k, v in jax.device_get(metrics).items()}
        accepted = values.pop("accepted", 1.0) > 0.5
        vote = voted if values.pop(VOTE, 0.0) > 0 else vote
        window.add(values, accepted, waited)
        reporting.tick()
        if (reporting.log_every and done.step % reporting.log_every == 0) or done.row or done.finished:
            reporting.log(done.step, {**window.report(), **done.row})
            window = Window(batch_size)
        if not accepted:
            reporting.on_bad(BadBatch(done.step, done.batch - 1, values))

    if start >= num_steps:
        return progress
    iterator = iter(batches)
    for step in range(start + 1, num_steps + 1):
        placed = next(iterator)
        state, metrics = step_fn(state, placed.batch, key)
        settle()
        progress = Progress(step, state, placed.place, placed.number + 1, finished=step == num_steps)
        progress.stop = vote or should_stop()
        pending = (progress, metrics, placed.waited_s)
        before = time.perf_counter()
        for hook in hooks:
            if not hook.after_report and hook.due(progress):
                hook.call(progress)
        late = [hook for hook in hooks if hook.after_report and hook.due(progress)]
        if late:
            settle()
        for hook in late:
            hook.call(progress)
        window.start += time.perf_counter() - before
        state = progress.state
        if progress.stop:
            break
    settle()
    return progress
