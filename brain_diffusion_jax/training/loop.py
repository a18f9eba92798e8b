"""The training loop: dispatch a step, look at the one before it, call hooks. It knows no task."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import jax

from brain_diffusion_jax.training.devices.prefetch import Placed
from brain_diffusion_jax.training.state import TrainState
from brain_diffusion_jax.training.step import VOTE


@dataclass
class Window:
    """Sums of metrics over the accepted steps since the last report, and the time that these steps took.

    seconds: from the end of the step before to the end of each step, hooks and compilation left out; waited_s:
    the part of it in which the loop waited for data. Saved in checkpoints, so that the row of a run
    that was cut short in a window averages the whole window.
    """

    sums: dict[str, float] = field(default_factory=dict)
    count: int = 0
    accepted: int = 0
    seconds: float = 0.0
    waited_s: float = 0.0

    def add(self, metrics: dict[str, float], accepted: bool, seconds: float, waited_s: float) -> None:
        self.count += 1
        self.seconds += seconds
        self.waited_s += waited_s
        if accepted:
            self.accepted += 1
            for name, value in metrics.items():
                self.sums[name] = self.sums.get(name, 0.0) + value

    def report(self, batch_size: int) -> dict[str, float]:
        seconds = max(self.seconds, 1e-9)
        rows = {k: v / max(self.accepted, 1) for k, v in self.sums.items()}
        if self.accepted < self.count:
            rows["rejected_steps"] = float(self.count - self.accepted)
        rows["images_per_s"] = self.count * batch_size / seconds
        rows["steps_per_s"] = self.count / seconds
        rows["data_wait_share"] = min(self.waited_s / seconds, 1.0)
        return rows


@dataclass
class Progress:
    """What hooks see after each step. loader_state: yields the next batch; batch: its number.

    row: numbers hooks add to this step's row of metrics.jsonl. stop: a reason, set to end the run; a
    hook may replace `state`. finished: this was the last step of a run that was not cut short.
    window: what is in no row yet, this step included; there for hooks that come after the report.
    """

    step: int
    state: TrainState
    loader_state: Any = None
    batch: int = 0
    row: dict[str, float] = field(default_factory=dict)
    stop: str = ""
    finished: bool = False
    window: Window = field(default_factory=Window)


@dataclass(frozen=True)
class Hook:
    """call(progress) after every `every`-th step (0: never), at the end of a whole run if at_end, and
    when a run is cut short if on_stop. after_report: only once the step's row is written, so that a
    process killed after a save has lost no row before it. when: in place of all these."""

    every: int
    call: Callable[[Progress], None]
    at_end: bool = False
    on_stop: bool = False
    after_report: bool = False
    when: Callable[[Progress], bool] | None = None

    def due(self, progress: Progress) -> bool:
        if self.when is not None:
            return self.when(progress)
        regular = self.every > 0 and progress.step % self.every == 0
        return regular or (self.at_end and progress.finished) or (self.on_stop and bool(progress.stop))


class BadBatch(Exception):
    """The step on a batch was not accepted: not finite, or a spike. The state is as it was before it."""

    def __init__(self, step: int, batch: int, metrics: dict[str, float]) -> None:
        self.step, self.batch, self.metrics = step, batch, metrics
        super().__init__(
            f"step {step}, batch {batch}: loss {metrics['loss']:.6g}, gradient norm {metrics['grad_norm']:.6g}"
        )


class Program(Protocol):
    """A training step, and `ready`, which compiles it for arguments where that is not done yet."""

    def __call__(self, state: TrainState, batch: Any, key: Any, /) -> tuple[TrainState, Any]: ...
    def ready(self, state: TrainState, batch: Any, key: Any, /) -> None: ...


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
    step_fn: Program,
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
    begun: Window | None = None,
) -> Progress:
    """Steps start+1..num_steps; returns the last Progress, its `stop` telling why it ended early.

    Metrics are fetched one step late, so that the devices always have work, and at once where a hook is due: its
    time is none of the steps'. voted: the reason to stop for when any process voted so in its batch; should_stop
    asks this process alone. begun: the window of the checkpoint that the run goes on from.
    """
    progress = Progress(start, state)
    window = Window() if begun is None else begun
    pending: tuple[Progress, Any] | None = None  # dispatched, not waited for
    fetched: tuple[Progress, BadBatch | None] | None = None  # counted, not reported
    vote = ""
    since, waited = 0.0, 0.0  # when the last step was done, and what was waited for data after that

    def fetch() -> None:
        """Wait for the pending step and count it."""
        nonlocal pending, since, waited, vote, fetched
        if pending is None:
            return
        (done, metrics), pending = pending, None
        values = {k: float(v) for k, v in jax.device_get(metrics).items()}
        now = time.perf_counter()
        accepted = values.pop("accepted", 1.0) > 0.5
        vote = voted if values.pop(VOTE, 0.0) > 0 else vote
        window.add(values, accepted, now - since, waited)
        since, waited = now, 0.0
        reporting.tick()
        fetched = (done, None if accepted else BadBatch(done.step, done.batch - 1, values))

    def report() -> None:
        """Where the row of the step that was fetched is due, log it with what hooks added to it."""
        nonlocal window, fetched
        if fetched is None:
            return
        (done, bad), fetched = fetched, None
        if (reporting.log_every and done.step % reporting.log_every == 0) or done.row or done.finished:
            reporting.log(done.step, {**window.report(batch_size), **done.row})
            window = Window()
        done.window = window
        if bad is not None:
            reporting.on_bad(bad)

    if start >= num_steps:
        return progress
    iterator = iter(batches)
    for step in range(start + 1, num_steps + 1):
        placed = next(iterator)
        waited += placed.waited_s
        if step == start + 1:
            step_fn.ready(state, placed.batch, key)
            since, waited = time.perf_counter(), 0.0
        state, metrics = step_fn(state, placed.batch, key)
        fetch()
        report()
        progress = Progress(step, state, placed.loader_state, placed.number + 1, finished=step == num_steps)
        progress.stop = vote or should_stop()
        pending = (progress, metrics)
        if _ready(metrics):  # computed while it was dispatched, as the CPU may: the next one's time is not its own
            fetch()
        early = [hook for hook in hooks if not hook.after_report and hook.due(progress)]
        if early:
            fetch()
            for hook in early:
                hook.call(progress)
        late = [hook for hook in hooks if hook.after_report and hook.due(progress)]
        if late:
            fetch()
            report()
            for hook in late:
                hook.call(progress)
        if early or late:
            since = time.perf_counter()
        state = progress.state
        if progress.stop:
            break
    fetch()
    report()
    return progress


def _ready(metrics: Any) -> bool:
    leaf = next(iter(metrics.values()))
    return leaf.is_ready() if hasattr(leaf, "is_ready") else True
