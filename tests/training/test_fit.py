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
import optax
import pytest
import tiny

from brain_diffusion_jax.api import run_summary
from brain_diffusion_jax.diffusion.process import Process
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.tasks.diffusion import loss as diffusion_loss
from brain_diffusion_jax.training import fit, hooks, state, step
from brain_diffusion_jax.training import optimizer as optimizers
from brain_diffusion_jax.training.devices import estimate, host, mesh
from brain_diffusion_jax.training.run_folder import checkpoints, metrics

KEY = jax.random.key(0)


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


def test_the_rate_falls_on_a_plateau():
    judgement = hooks.Judgement()
    falls = [judgement.judge(loss, 2) for loss in (3.0, 2.0, 2.5, 2.1, 1.9, 2.0, 2.0, 2.0)]
    assert falls == [False, False, False, True, False, False, True, False]
    assert (judgement.best, judgement.since_best) == (1.9, 3)
    assert hooks.Judgement.from_json(json.loads(json.dumps(judgement.to_json()))) == judgement


def test_validation_batches_hold_every_sample_once():
    parts = hooks.batches_of({"x": np.arange(11)}, 4)
    seen = np.concatenate([p["x"][p["weight"] > 0] for p in parts])
    np.testing.assert_array_equal(seen, np.arange(11))
    assert {len(p["x"]) for p in parts} == {4}


def quadratic(spike_factor=0.0, name="sgd", rate=0.1, **options):
    """A step on |w - target|^2 whose batch gives the target."""
    settings = optimizers.OptimizerSettings(name=name, learning_rate=rate, warmup_steps=0, schedule="constant")
    tx = optimizers.make(settings, 100)

    def loss(params, model_state, batch, key, update):
        value = jnp.mean((params["w"] - batch["target"]) ** 2)
        return value, ({}, model_state)

    start = state.create({"params": {"w": jnp.full((4, 4), 2.0)}}, tx)
    return start, jax.jit(step.build_step(loss, tx, spike_factor=spike_factor, **options))


@pytest.mark.parametrize("bad", [np.nan, np.inf, 100.0])
def test_a_bad_step_changes_only_the_step_number(bad):
    now, do = quadratic(spike_factor=10.0)
    for _ in range(step.SPIKE_AFTER):
        now, measured = do(now, {"target": jnp.full((1, 4), 1.0)}, KEY)
        assert measured["accepted"] == 1
    after, measured = do(now, {"target": jnp.full((1, 4), bad)}, KEY)
    assert measured["accepted"] == 0
    assert int(after.step) == int(now.step) + 1
    jax.tree.map(np.testing.assert_array_equal, after.replace(step=now.step), now)


@pytest.mark.parametrize("name", sorted(optimizers.OPTIMIZERS))
def test_every_optimizer_goes_downhill(name):
    now, do = quadratic(name=name, rate=0.02)
    batch = {"target": jnp.full((1, 4), 1.0)}
    now, first = do(now, batch, KEY)
    for _ in range(20):
        now, last = do(now, batch, KEY)
    assert last["loss"] < 0.95 * first["loss"]


def test_learning_rates():
    def rates(**options):
        settings = optimizers.OptimizerSettings(learning_rate=1.0, warmup_steps=10, **options)
        return np.array([optimizers.learning_rate(settings, 100)(i) for i in range(101)])

    cosine, constant = rates(end_fraction=0.1), rates(schedule="constant")
    assert cosine[0] == pytest.approx(0.1)
    assert cosine[10] == pytest.approx(1.0)
    assert cosine[100] == pytest.approx(0.1)
    assert np.all(np.diff(cosine[10:]) < 0)
    assert np.all(np.diff(cosine[:11]) > 0)
    np.testing.assert_allclose(constant[10:], 1.0)
    for wrong in (dict(name="adamm"), dict(schedule="cosin"), dict(learning_rate=0.0)):
        with pytest.raises(InputError, match=r"optimizer\."):
            optimizers.OptimizerSettings(**wrong)


def test_times_are_one_in_every_part_of_the_range():
    for seed in range(5):
        times = np.asarray(diffusion_loss.spread_times(jax.random.key(seed), jnp.arange(8), 8, 1000))
        assert sorted(times // 125) == list(range(8)) or len(set(np.sort(times) // 125)) >= 7
        assert np.all(np.abs(np.diff(np.sort(times)) - 125) <= 1)
    many = np.concatenate([diffusion_loss.spread_times(jax.random.key(s), jnp.arange(8), 8, 10) for s in range(200)])
    np.testing.assert_allclose(np.bincount(many, minlength=10) / len(many), 0.1, atol=0.02)


def test_conditions_are_dropped_per_sample_and_per_covariate():
    present = jnp.ones((4000, 3), bool).at[:, 2].set(False)
    index = jnp.arange(4000)
    whole = np.asarray(diffusion_loss.drop_conditions(KEY, present, 0.3, 0.0, index))
    assert set(map(tuple, whole)) == {(True, True, False), (False, False, False)}
    assert whole[:, 0].mean() == pytest.approx(0.7, abs=0.03)
    each = np.asarray(diffusion_loss.drop_conditions(KEY, present, 0.0, 0.5, index))
    assert each[:, 0].mean() == pytest.approx(0.5, abs=0.03)
    assert (each[:, 0] & each[:, 1]).mean() == pytest.approx(0.25, abs=0.03)
    part = diffusion_loss.drop_conditions(KEY, present[7:9], 0.3, 0.0, index[7:9])
    np.testing.assert_array_equal(part, whole[7:9])  # the rest of the batch does not matter


def tiny_loss(**options):
    module, process = tiny.TinyDenoiser(), Process(num_train_steps=100)
    settings = diffusion_loss.DiffusionLoss(batch_size=tiny.BATCH, **options)
    params = diffusion_loss.make_init(module, (*tiny.SIZE, 1), 2, settings)(KEY)["params"]
    return jax.jit(diffusion_loss.make_loss(module, process, settings)), params


def test_stored_bytes_and_numbers_are_the_same_picture():
    loss, params = tiny_loss()
    batch = {**next(tiny.Endless()), "index": np.arange(tiny.BATCH)}
    stored = np.rint(batch["image"] * 255).astype(np.uint8)
    as_bytes = loss(params, {}, {**batch, "image": jnp.asarray(stored)}, KEY, 0)[0]
    as_numbers = loss(params, {}, {**batch, "image": jnp.asarray(stored / np.float32(255))}, KEY, 0)[0]
    assert float(as_bytes) == pytest.approx(float(as_numbers), abs=1e-6)


def test_learned_uncertainty_starts_as_the_plain_loss_and_learns():
    batch = {k: jnp.asarray(v) for k, v in {**next(tiny.Endless()), "index": np.arange(tiny.BATCH)}.items()}
    loss, params = tiny_loss(loss_weight="uncertainty")
    plain, _ = tiny_loss()
    assert float(loss(params, {}, batch, KEY, 0)[0]) == pytest.approx(
        float(plain(params, {}, batch, KEY, 0)[0]), abs=1e-6
    )
    gradient = jax.jit(jax.grad(lambda p: loss(p, {}, batch, KEY, 0)[0]))(params)
    assert np.abs(gradient[diffusion_loss.UNCERTAINTY]["weight"]).max() > 0
    assert diffusion_loss.UNCERTAINTY not in state.network_params(params)


def test_meshes_and_batches_that_do_not_fit():
    with pytest.raises(InputError, match=r"train\.fsdp: found 3; expected a divisor of the 1 devices"):
        mesh.make_mesh(-1, 3)
    with pytest.raises(InputError, match="found 5 x 1; expected 1 devices"):
        mesh.make_mesh(5, 1)
    with pytest.raises(InputError, match=r"data\.batch_size: found 12; expected a multiple of 16"):
        mesh.require_divisible(12, 8, 2, 1)
    with pytest.raises(InputError, match="jit or pmap"):
        mesh.make_layout("xmap")
    with pytest.raises(InputError, match="fsdp"):
        mesh.make_layout("pmap", fsdp=2)
    assert tuple(mesh.partition((3, 3, 64, 128), 8)) == (None, None, None, "fsdp")
    assert tuple(mesh.partition((3, 3, 256, 129), 8)) == (None, None, "fsdp")
    assert tuple(mesh.partition((512,), 8)) == ()
    assert tuple(mesh.partition((3, 3, 63, 129), 8)) == ()


def test_a_dry_run_knows_the_state_it_would_make():
    task, tx = tiny.diffusion_task(width=64), optax.adam(1e-3)

    def init(key):
        return state.create(task.init(key), tx)

    example = {**next(tiny.Endless(16)), "index": np.arange(16, dtype=np.int32)}
    one = estimate.estimate(init, task.make_loss(None), example, data=1, fsdp=1, accumulation=1)
    real = init(KEY)
    assert one.parameters == state.count_parameters(real.params)
    assert one.state_bytes == state.tree_bytes(real)
    eight = estimate.estimate(init, task.make_loss(None), example, data=1, fsdp=8, accumulation=1)
    assert one.state_bytes / 8 < eight.state_bytes < one.state_bytes / 6
    assert eight.activation_bytes < one.activation_bytes / 6
    assert eight.step_flops == pytest.approx(one.step_flops)
    assert "TFLOP" in str(one)
