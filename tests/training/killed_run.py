"""Run by test_resume: forks trainings and kills them, then tells what became of them, as JSON."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import tiny

from brain_diffusion_jax.training.devices import compile_cache
from brain_diffusion_jax.training.run_folder import metrics, store

STEPS = 24


def train(run: Path, delay: float = 0.0) -> int:
    data = tiny.Endless()
    if delay:
        plain = tiny.Endless.__next__
        tiny.Endless.__next__ = lambda self: (time.sleep(delay), plain(self))[1]
    compile_cache.enable()
    options = dict(num_steps=STEPS, validate_every=3, checkpoint_every=1, power_ema=(0.1,))
    outcome = tiny.train(run, data, config={"seed": 5}, seed=5, **options)
    return outcome.exit_code


def train_and_die_in_a_save(run: Path) -> int:
    """A training that kills itself as soon as it sees a checkpoint half written."""
    begin = store.Store.save

    def save(self, *arguments) -> int:
        step = begin(self, *arguments)
        while str(step) not in (names := os.listdir(self.folder)):
            if any("tmp" in name for name in names):
                os.kill(os.getpid(), signal.SIGKILL)
        return step

    store.Store.save = save
    return train(run)


def forked(run: Path, delay: float = 0.0, *, dies: bool = False) -> int:
    """Process id of a training in the background."""
    child = os.fork()
    if child == 0:
        try:
            code = train_and_die_in_a_save(run) if dies else train(run, delay)
        except BaseException as error:
            print(f"child: {type(error).__name__}: {error}", file=sys.stderr)
            code = 99
        os._exit(code)
    return child


def wait(happened: Callable[[], bool], timeout: float = 300.0) -> None:
    begin = time.monotonic()
    while not happened() and time.monotonic() - begin < timeout:
        time.sleep(0.01)


def finished(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main(folder: Path, kills: int) -> None:
    codes = {"whole": finished(forked(folder / "whole"))}
    chance = random.Random(1)
    reached: list[int] = []
    start = 1.0
    for kill in range(kills):
        begin, rows = time.monotonic(), len(metrics.read_jsonl(folder / "killed"))
        child = forked(folder / "killed", delay=0.15)
        if kill % 3 == 2:  # while it starts: compiles, restores
            time.sleep(chance.uniform(0.1, 0.9) * start)
        else:  # between and into steps and saves
            wait(lambda rows=rows: len(metrics.read_jsonl(folder / "killed")) > rows)
            start = time.monotonic() - begin
            time.sleep(chance.uniform(0.0, 0.25))
        os.kill(child, signal.SIGKILL)
        finished(child)
        reached += store.saved_steps(folder / "killed")[-1:]
    codes["killed in a save"] = finished(forked(folder / "killed", dies=True))
    half_written = [path.name for path in (folder / "killed" / "checkpoints").glob("*tmp*")]
    codes["killed"] = finished(forked(folder / "killed"))

    child = forked(folder / "stopped", delay=0.05)
    wait(lambda: (folder / "stopped" / "metrics.jsonl").exists())
    time.sleep(0.3)
    os.kill(child, signal.SIGTERM)
    codes["stopped"] = finished(child)
    reached_by_term = store.saved_steps(folder / "stopped")
    codes["after the stop"] = finished(forked(folder / "stopped"))
    json.dump(
        {"codes": codes, "reached": reached, "stopped at": reached_by_term, "half written": half_written}, sys.stdout
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
