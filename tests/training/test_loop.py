"""Rows of metrics: what they average and what they time, by a clock of the test's own."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from brain_diffusion_jax.training import loop
from brain_diffusion_jax.training.devices.prefetch import Placed

STEP_S, WAIT_S, BATCH = 1.0, 0.25, 8


class Clock:
    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(loop, "time", clock)
    return clock


class Late:
    """A number that a device is still busy with."""

    def __init__(self, clock, value, end):
        self.clock, self.value, self.end = clock, value, end

    def is_ready(self):
        return self.clock.now >= self.end

    def __array__(self, *_):
        self.clock.now = max(self.clock.now, self.end)
        return np.asarray(self.value)


class Step:
    """A device that works STEP_S on each step, at once or behind the caller's back, and compiles for an hour."""

    def __init__(self, clock, behind=False):
        self.clock, self.behind, self.free = clock, behind, 0.0

    def ready(self, state, batch, key):
        self.clock.now += 3600

    def __call__(self, state, batch, key):
        self.free = max(self.clock.now, self.free) + STEP_S
        if not self.behind:
            self.clock.now = self.free
        return state + 1, {"loss": Late(self.clock, float(batch), self.free), "accepted": 1.0}


def batches(clock, first):
    clock.now += 500  # workers start
    for number in range(first, 1000):
        clock.now += WAIT_S
        yield Placed(number, None, number, WAIT_S)


def run(clock, num_steps, log_every, hooks=(), start=0, behind=False, **options):
    rows = {}
    reporting = loop.Reporting(log_every, lambda step, row: rows.update({step: row}), pytest.fail)
    done = loop.run(
        start,
        Step(clock, behind),
        batches(clock, start),
        None,
        start=start,
        num_steps=num_steps,
        batch_size=BATCH,
        reporting=reporting,
        hooks=hooks,
        **options,
    )
    return rows, done


@pytest.mark.parametrize("behind", [False, True])
@pytest.mark.parametrize("log_every", [1, 3, 10])
def test_rows_time_the_steps_and_nothing_else(clock, log_every, behind):
    def slow(progress):
        clock.now += 60
        if progress.step % 4 == 0:
            progress.row["validation_loss"] = 1.0

    hooks = [loop.Hook(4, slow), loop.Hook(5, slow, after_report=True)]
    rows, _ = run(clock, 20, log_every, hooks, behind=behind)
    assert set(rows) == {s for s in range(1, 21) if s % log_every == 0 or s % 4 == 0}
    # A device at work hides the wait for data, but for the first step after a hook; the first batch of all is
    # waited for while workers start, before any step.
    slowest, fastest = STEP_S + WAIT_S, STEP_S
    for step, row in rows.items():
        assert BATCH / slowest <= row["images_per_s"] <= BATCH / fastest
        assert row["data_wait_share"] <= 2 * WAIT_S / slowest  # the next batch's may fall into a step's time
        if not behind and step != min(rows):
            assert row["images_per_s"] == BATCH / slowest
            assert row["data_wait_share"] == WAIT_S / slowest


def test_a_window_that_was_cut_short_is_averaged_whole(clock):
    whole, _ = run(clock, 12, 5)
    saved = []
    save = loop.Hook(3, lambda progress: saved.append(copy.deepcopy(progress.window)), after_report=True)
    before, _ = run(clock, 12, 5, [save], should_stop=lambda: "interrupted" if len(saved) == 2 else "")
    assert set(before) == {5}
    after, _ = run(clock, 12, 5, start=6, begun=saved[1])
    assert {**before, **after}.keys() == whole.keys() == {5, 10, 12}
    for step, row in {**before, **after}.items():
        assert row["loss"] == whole[step]["loss"]


def test_a_trace_waits_for_steps_only_where_it_begins_and_ends():
    from brain_diffusion_jax.training import hooks

    hook = hooks.trace(None, 0, 3)
    assert [s for s in range(1, 10) if hook.due(loop.Progress(s, None))] == [2]
    assert not any(hooks.trace(None, 0, 0).due(loop.Progress(s, None)) for s in range(1, 10))
