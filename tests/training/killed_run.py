"""Run by test_resume: forks trainings and kills them, then tells what became of them, as JSON."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import tiny

from brain_diffusion_jax.training import compile_cache, fit, store

STEPS = 24


def train(run: Path, delay: float = 0.0) -> int:
    data = tiny.Endless()
    if delay:
        plain = tiny.Endless.__next__
        tiny.Endless.__next__ = lambda self: (time.sleep(delay), plain(self))[1]
    compile_cache.enable()
    outcome = fit.fit(
        tiny.diffusion_task(),
        run,
        data,
        tiny.held_out(),
        tiny.train_settings(num_steps=STEPS, validate_every=3, checkpoint_every=1, power_ema=(0.1,)),
        tiny.ADAM,
        batch_size=tiny.BATCH,
        config={"seed": 5},
        contract=tiny.CONTRACT,
        seed=5,
        show_progress=False,
    )
    return outcome.exit_code


def forked(run: Path, delay: float = 0.0) -> int:
    """Process id of a training in the background."""
    child = os.fork()
    if child == 0:
        try:
            code = train(run, delay)
        except BaseException as error:
            print(f"child: {type(error).__name__}: {error}", file=sys.stderr)
            code = 99
        os._exit(code)
    return child


def finished(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main(folder: Path, kills: int) -> None:
    begin = time.monotonic()
    codes = {"whole": finished(forked(folder / "whole"))}
    seconds = time.monotonic() - begin
    chance = random.Random(int(os.environ.get("BRAIN_DIFFUSION_KILL_SEED", "1")))
    reached = []
    for _ in range(kills):
        child = forked(folder / "killed")
        # Compiled by now, so starts are faster than the first; most kills fall between and into saves.
        time.sleep(chance.uniform(0.3, 0.9) * seconds)
        os.kill(child, signal.SIGKILL)
        finished(child)
        reached.append(store.saved_steps(folder / "killed")[-1:])
    codes["killed"] = finished(forked(folder / "killed"))

    child = forked(folder / "stopped", delay=0.05)
    begin = time.monotonic()
    while not (folder / "stopped" / "metrics.jsonl").exists() and time.monotonic() - begin < 300:
        time.sleep(0.05)
    time.sleep(0.3)
    os.kill(child, signal.SIGTERM)
    codes["stopped"] = finished(child)
    reached_by_term = store.saved_steps(folder / "stopped")
    codes["after the stop"] = finished(forked(folder / "stopped"))
    json.dump({"codes": codes, "reached": reached, "stopped at": reached_by_term}, sys.stdout)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
