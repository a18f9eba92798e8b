"""Whole runs of the tiny task, and the pure parts of a step."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from brain_diffusion_jax.api import run_summary
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.training import fit
from brain_diffusion_jax.training import optimizer as optimizers
from brain_diffusion_jax.training.devices import host
from brain_diffusion_jax.training.run_folder import checkpoints, metrics

run = tiny.train


def rows(folder):
    return metrics.read_jsonl(folder)


def test_a_run_leaves_what_others_read(tmp_path, monkeypatch):
    released = []
    monkeypatch.setattr(host, "release_memory", lambda: released.append(True))
    outcome = run(tmp_path / "a", num_steps=8)
    assert len(released) == 8  # after every step
    assert (outcome.step, outcome.reason, outcome.exit_code) == (8, "", 0)
    found = rows(tmp_path / "a")
    assert [r["step"] for r in found] == list(range(1, 9))
    assert {"loss", "grad_norm", "images_per_s", "data_wait_share", "tflops_per_s", "memory_gib"} <= set(found[0])
    assert [r["step"] for r in found if "validation_loss" in r] == [4, 8]
    assert checkpoints.saved_steps(tmp_path / "a") == [4, 8]
    assert checkpoints.best_step(tmp_path / "a") in (4, 8)
    assert set(checkpoints.load_params(tmp_path / "a")) == {"into", "told", "middle", "out"}
    described = run_summary.describe(tmp_path / "a")
    assert described["step"] == described["of"] == 8
    assert described["best"]["validation_loss"] == min(r["validation_loss"] for r in found if "validation_loss" in r)
    assert "8 of 8" in run_summary.text(described)
    json.dumps(described)
    # Started once more: nothing is left to do, nothing is done.
    before = (tmp_path / "a" / "metrics.jsonl").read_text()
    assert run(tmp_path / "a", num_steps=8).step == 8
    assert (tmp_path / "a" / "metrics.jsonl").read_text() == before
    with pytest.raises(InputError, match="seed: found 1; expected 0"):
        run(tmp_path / "a", validation={}, config={}, seed=1)


def test_a_refused_call_leaves_the_record_as_it_was_and_an_allowed_change_is_noted(tmp_path):
    folder = tmp_path / "run"
    config = {"seed": 3, "train": {"num_steps": 2, "drop_probability": 0.3}, "optimizer": {"name": "adamw"}}
    config["optimizer"] |= {"learning_rate": 1e-2, "clip_norm": 1.0}
    run(folder, config=config, seed=3, num_steps=2, checkpoint_every=2)
    record = (folder / "config.json").read_bytes()

    def changed(section, key, value):
        return {**config, section: {**config[section], key: value}}

    lion = optimizers.OptimizerSettings(name="lion")
    for wrong, words, options in (
        ({**config, "seed": 4}, r"seed=4 \(run: 3\)", {"seed": 4}),
        (
            changed("optimizer", "name", "lion"),
            r"optimizer\.name='lion' \(run: 'adamw'\)",
            {"task": tiny.diffusion_task(adam=lion)},
        ),
        (changed("optimizer", "clip_norm", 0.0), r"optimizer\.clip_norm=0\.0 \(run: 1\.0\)", {}),
        (config, "seed: found 5; expected 3", {"seed": 5}),  # known only once the checkpoint is open
    ):
        with pytest.raises(InputError, match=words):
            run(folder, config=wrong, num_steps=4, **{"seed": 3, **options})
        assert (folder / "config.json").read_bytes() == record
    assert not (folder / checkpoints.HISTORY).exists()

    new = changed("train", "drop_probability", 0.1)
    new["optimizer"] = {**config["optimizer"], "learning_rate": 1e-3, "clip_norm": 0.5}
    run(folder, config=new, seed=3, num_steps=2)  # nothing is left to do: nothing changes
    assert (folder / "config.json").read_bytes() == record
    run(folder, config=new, seed=3, num_steps=4)
    run(folder, config=new, seed=3, num_steps=6)
    (row,) = checkpoints.read_history(folder)
    assert row["step"] == 2
    assert row["changes"] == {
        "train.drop_probability": [0.3, 0.1],
        "optimizer.learning_rate": [1e-2, 1e-3],
        "optimizer.clip_norm": [1.0, 0.5],
    }
    assert checkpoints.read_config(folder)["train"]["drop_probability"] == 0.1
    assert "optimizer.learning_rate 0.01 -> 0.001" in run_summary.text(run_summary.describe(folder))


class Without(tiny.Endless):
    """The tiny data without batch 5."""

    def __next__(self):
        if self.next_batch == 5:
            self.next_batch = 6
        return super().__next__()


def test_a_batch_of_nan(tmp_path, caplog):
    nan = {5: np.nan}
    with pytest.raises(InputError, match="step 6, batch 5: loss nan"):
        run(tmp_path / "stop", tiny.Endless(bad=nan))
    assert checkpoints.saved_steps(tmp_path / "stop") == [4]

    with caplog.at_level(logging.WARNING):
        assert run(tmp_path / "skip", tiny.Endless(bad=nan), on_nan="skip").step == 8
    assert "step 6, batch 5: loss nan" in caplog.text
    skipped = rows(tmp_path / "skip")
    assert skipped[5]["rejected_steps"] == 1
    assert np.isfinite(skipped[6]["loss"])

    assert run(tmp_path / "back", tiny.Endless(bad=nan), on_nan="rollback").step == 8
    assert json.loads((tmp_path / "back" / fit.SKIPPED).read_text()) == [5]
    run(tmp_path / "without", Without())
    # The same as if the batch had never been there, and one row a step.
    assert [r["step"] for r in rows(tmp_path / "back")] == list(range(1, 9))
    jax.tree.map(
        np.testing.assert_array_equal,
        checkpoints.load_params(tmp_path / "back"),
        checkpoints.load_params(tmp_path / "without"),
    )


class Interrupted(tiny.Endless):
    def __next__(self):
        if self.next_batch == 4:
            os.kill(os.getpid(), signal.SIGINT)
        return super().__next__()


def test_ctrl_c_saves_and_early_stopping_stops(tmp_path):
    outcome = run(tmp_path / "c", Interrupted(), num_steps=50, checkpoint_every=0, validate_every=0)
    assert (outcome.reason, outcome.exit_code) == ("interrupted", 130)
    assert checkpoints.saved_steps(tmp_path / "c") == [outcome.step]
    assert outcome.step < 50

    def flat(params, model_state, batch, key):
        return {"validation_loss": jnp.ones(batch["index"].shape)}

    task = replace(tiny.diffusion_task(), measure=flat)
    first = run(tmp_path / "e", task=task, num_steps=40, validate_every=2, early_stopping=2)
    assert (first.step, first.reason, first.exit_code) == (6, "early stopping", 0)
    assert run(tmp_path / "e", task=task, num_steps=40, validate_every=2, early_stopping=2).step == 6


class Crashing(tiny.Endless):
    def __next__(self):
        if self.next_batch == 9:
            raise RuntimeError("power cut")
        return super().__next__()


class Deleting(tiny.Endless):
    folder = None

    def __next__(self):
        if self.next_batch == 4:
            shutil.rmtree(self.folder)
        return super().__next__()


def test_a_run_folder_deleted_beneath_a_training_ends_it_with_a_message(tmp_path):
    data = Deleting()
    data.folder = tmp_path / "run"
    with pytest.raises(InputError, match="run folder: found gone"):
        run(tmp_path / "run", data, num_steps=50, checkpoint_every=0, validate_every=0)
    assert not (tmp_path / "run").exists()


TIMED = {"time", "images_per_s", "steps_per_s", "data_wait_share", "tflops_per_s", "memory_gib"}


def test_rows_of_a_run_that_was_cut_short_equal_those_of_one_that_was_not(tmp_path):
    """log_every divides neither the checkpoint step nor the step of the interrupt."""
    options = dict(num_steps=12, log_every=5, checkpoint_every=4, validate_every=0)
    run(tmp_path / "whole", **options)
    run(tmp_path / "interrupted", Interrupted(), **options)
    run(tmp_path / "interrupted", **options)
    with pytest.raises(RuntimeError, match="power cut"):
        run(tmp_path / "killed", Crashing(), **options)
    run(tmp_path / "killed", **options)
    run(tmp_path / "rolled", tiny.Endless(bad={9: np.nan}), on_nan="rollback", **options)

    def told(name):
        return [{k: v for k, v in row.items() if k not in TIMED} for row in rows(tmp_path / name)]

    assert [row["step"] for row in told("whole")] == [5, 10, 12]
    assert told("killed") == told("interrupted") == told("whole")
    assert told("rolled")[0] == told("whole")[0]
    assert len(told("rolled")) == 3


def test_checkpoints_of_0_1_have_no_window_and_still_open(tmp_path):
    run(tmp_path, num_steps=4)
    for file in (tmp_path / "checkpoints" / "4").glob("checksums.json"):
        file.unlink()
    host_state = tmp_path / "checkpoints" / "4" / "host" / "metadata"
    kept = {k: v for k, v in json.loads(host_state.read_text()).items() if k not in ("window", "validation_loss")}
    host_state.write_text(json.dumps(kept))
    assert run(tmp_path, num_steps=8).step == 8
