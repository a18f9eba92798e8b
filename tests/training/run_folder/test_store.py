"""Checkpoints: kept, damaged, foreign, and the disk full."""

from __future__ import annotations

import logging
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny

from brain_diffusion_jax import config as configs
from brain_diffusion_jax.contract import Contract, ContractMismatch
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.tasks.spec import spec
from brain_diffusion_jax.training import state
from brain_diffusion_jax.training.averages import ema, power_ema
from brain_diffusion_jax.training.run_folder import checkpoints, metrics, step_folders, stopping
from brain_diffusion_jax.training.run_folder.store import Keep, Store, saved_steps

ALL = Keep(last=9)
CONFIG = {"model": {"channels": [8]}, "train": {"num_steps": 9}}


def _open(run, kind, config, contract):
    checkpoints.require_same_run(run, kind, config, contract, spec(kind).kept)
    checkpoints.record_run(run, kind, config, contract)
    return bool(checkpoints.saved_steps(run))


def small(step: int, value: float, optimizer=None, size: int = 3) -> state.TrainState:
    new = state.create({"params": {"w": jnp.full(size, value)}}, optimizer or optax.adam(1e-3))
    return new.replace(step=jnp.asarray(step, jnp.int32))


def fill(run, steps, keep=ALL, losses=None):
    store = Store(run, keep)
    for number, step in enumerate(steps):
        store.save(small(step, float(step)), {"seed": 0}, losses[number] if losses else None)
    store.wait()
    return store


def damage(run, step, how):
    """Change the biggest file of the parameters of a checkpoint."""
    files = [p for p in (run / "checkpoints" / str(step) / "params").rglob("*") if p.is_file()]
    path = max(files, key=lambda p: p.stat().st_size)
    content = bytearray(path.read_bytes())
    if how == "flipped":
        content[len(content) // 2] ^= 0xFF
    path.unlink() if how == "missing" else path.write_bytes(content[: len(content) // 2] if how == "cut" else content)


def test_last_best_and_every_are_kept(tmp_path):
    store = fill(tmp_path, range(1, 9), Keep(last=2, best=1, every=5), [5, 4, 1, 4, 5, 6, 7, 8])
    assert store.steps() == [3, 5, 7, 8]
    store.close()


@pytest.mark.parametrize("how", ["flipped", "cut", "missing"])
def test_a_damaged_checkpoint_is_named_and_passed_over(tmp_path, caplog, how):
    store = fill(tmp_path, (1, 2))
    damage(tmp_path, 2, how)
    with caplog.at_level(logging.WARNING):
        found, host = store.restore(small(0, 0.0))
    np.testing.assert_array_equal(found.params["w"], np.ones(3))
    assert int(found.step) == 1
    assert host == {"seed": 0}
    assert "checkpoints/2: damaged" in caplog.text
    damage(tmp_path, 1, how)
    with pytest.raises(InputError, match=r"all damaged: \[1, 2\]"):
        store.restore(small(0, 0.0))
    store.close()


def test_a_step_that_was_passed_over_is_replaced_and_crowds_out_no_whole_one(tmp_path):
    fill(tmp_path, (1, 2, 5)).close()
    damage(tmp_path, 5, "flipped")
    store = Store(tmp_path, Keep(last=1))
    assert int(store.restore(small(0, 0.0))[0].step) == 2
    store.save(small(3, 3.0), {})  # below the damaged one
    store.wait()
    assert store.steps()[-1] == 3
    store.save(small(5, 7.0), {})
    store.wait()
    store.close()
    np.testing.assert_array_equal(checkpoints.load_params(config(tmp_path))["w"], np.full(3, 7.0))


def test_the_best_stays_after_a_restart(tmp_path):
    fill(tmp_path, (1, 2, 3), Keep(last=1, best=1), [5, 1, 4]).close()
    store = Store(tmp_path, Keep(last=1, best=1))
    assert store.restore(small(0, 0.0))[1] == {"seed": 0}
    store.save(small(4, 4.0), {}, 3.0)
    store.wait()
    assert store.steps() == [2, 4]
    store.close()


def config(run):
    checkpoints.write_json(run / "config.json", {"kind": "diffusion", **CONFIG})
    return run


@pytest.mark.parametrize("item", ["params", "ema"])
def test_damaged_weights_are_passed_over_or_refused_by_what_loads_them(tmp_path, caplog, item):
    fill(config(tmp_path), (1, 2)).close()
    for path in (tmp_path / "checkpoints" / "2" / item).rglob("*"):
        if path.is_file() and path.stat().st_size > 1:
            content = bytearray(path.read_bytes())
            content[len(content) // 2] ^= 1
            path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        step, params, _ = checkpoints.load_weights(tmp_path, ema=item == "ema")
    assert step == 1
    np.testing.assert_array_equal(params["w"], np.ones(3))
    assert "checkpoints/2: damaged checkpoint, passed over" in caplog.text
    with pytest.raises(InputError, match="damaged"):
        checkpoints.load_params(tmp_path, 2, ema=item == "ema")
    assert checkpoints.load_weights(tmp_path, 2, ema=item != "ema").step == 2  # what is read is checked
    shutil.rmtree(tmp_path / "checkpoints" / "1" / item)
    with pytest.raises(InputError, match="all damaged"):
        checkpoints.load_params(tmp_path, ema=item == "ema")


def test_no_checkpoint_appears_without_its_checksums(tmp_path, monkeypatch):
    store, seen = Store(tmp_path, ALL), []
    write = step_folders.write_checksums
    monkeypatch.setattr(step_folders, "write_checksums", lambda folder: (seen.append(folder.name), write(folder)))
    store.save(small(1, 1.0), {})
    store.snapshot(1, {"0.1": {"w": np.ones(2, np.float32)}})
    store.wait()
    store.close()
    assert [name.partition(".")[0] for name in seen] == ["1", "1"]
    assert all("tmp" in name for name in seen)  # before the rename that makes them appear


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(tmp_path, bad):
    params = {"unet": {"bias": np.array([1.0, bad], np.float32)}}
    run = checkpoints.write_run(tmp_path / "run", "diffusion", params, CONFIG)
    with pytest.raises(InputError, match="unet/bias: found NaN or infinite"):
        checkpoints.load_params(run)
    stats = {"batch_stats": {"mean": np.array([bad], np.float32)}}
    run = checkpoints.write_run(tmp_path / "other", "age", {"w": np.ones(1)}, CONFIG, model_state=stats)
    with pytest.raises(InputError, match="batch_stats/mean"):
        checkpoints.load_weights(run)


def test_a_folder_deleted_beneath_a_training_is_said_and_not_made_anew(tmp_path):
    run = tmp_path / "run"
    store = fill(run, (1,))
    writer = metrics.MetricsWriter(run)
    shutil.rmtree(run)
    with pytest.raises(InputError, match="run folder: found gone"):
        store.save(small(2, 2.0), {})
    with pytest.raises(InputError, match="run folder: found gone"):
        store.snapshot(2, {"0.1": {"w": np.ones(2, np.float32)}})
    with pytest.raises(InputError, match="run folder: found gone"):
        writer.write(2, {"loss": 1.0})
    writer.close()
    store.close()
    assert not run.exists()


def test_a_checkpoint_of_another_network_or_optimizer_is_refused(tmp_path):
    store = fill(tmp_path, (1,))
    with pytest.raises(InputError, match=r"network: w: found shape \(3,\); expected shape \(4,\)"):
        store.restore(small(0, 0.0, size=4))
    with pytest.raises(InputError, match="optimizer: opt_state"):
        store.restore(small(0, 0.0, optax.sgd(0.1, momentum=0.9)))
    store.close()


def test_a_full_disk_stops_the_save_and_keeps_what_was_saved(tmp_path, monkeypatch):
    store = fill(tmp_path, (1,))
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10))
    with pytest.raises(InputError, match="no space left"):
        store.save(small(2, 2.0), {})
    assert store.steps() == [1]
    assert int(store.restore(small(0, 0.0))[0].step) == 1
    store.close()


def test_written_weights_come_back(tmp_path):
    params = {"unet": {"kernel": np.arange(6.0, dtype=np.float32).reshape(2, 3)}}
    stats = {"batch_stats": {"mean": np.ones(2, np.float32)}}
    run = checkpoints.write_run(tmp_path / "run", "age", params, CONFIG, tiny.CONTRACT, stats)
    np.testing.assert_array_equal(checkpoints.load_params(run)["unet"]["kernel"], params["unet"]["kernel"])
    np.testing.assert_array_equal(checkpoints.load_weights(run).model_state["batch_stats"]["mean"], np.ones(2))
    assert checkpoints.read_config(run)["kind"] == "age"
    assert checkpoints.read_contract(run) == tiny.CONTRACT
    with pytest.raises(InputError, match="not empty"):
        checkpoints.write_run(run, "age", params, CONFIG)
    with pytest.raises(InputError, match=r"step: found 7; expected one of \[0\]"):
        checkpoints.load_params(run, 7)


def test_weights_without_any_checkpoint(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        checkpoints.load_params(tmp_path)
    _open(tmp_path / "run", "diffusion", CONFIG, None)
    with pytest.raises(InputError, match="none finished"):
        checkpoints.load_params(tmp_path / "run")


def test_a_run_folder_of_something_else_is_refused(tmp_path):
    run = tmp_path / "run"
    assert not _open(run, "diffusion", CONFIG, tiny.CONTRACT)
    with pytest.raises(InputError, match="kind: found diffusion"):
        _open(run, "age", CONFIG, tiny.CONTRACT)
    with pytest.raises(InputError, match=r"model\.channels=\[16\] \(run: \[8\]\)"):
        _open(run, "diffusion", {**CONFIG, "model": {"channels": [16]}}, tiny.CONTRACT)
    other = Contract(tiny.SCHEMA, (9, 9), fingerprint="tiny")
    with pytest.raises(ContractMismatch, match="image_size"):
        _open(run, "diffusion", CONFIG, other)
    with pytest.raises(ContractMismatch, match="fingerprint"):
        _open(run, "diffusion", CONFIG, Contract(tiny.SCHEMA, tiny.SIZE, fingerprint="other"))
    _open(run, "diffusion", {**CONFIG, "train": {"num_steps": 20}}, tiny.CONTRACT)
    # A setting that came after the run was started, or that says only how the network is computed.
    younger = {**CONFIG["model"], "remat": "none", "scan_blocks": False}
    _open(run, "diffusion", {**CONFIG, "model": younger}, tiny.CONTRACT)
    _open(run, "diffusion", {**CONFIG, "model": {**younger, "remat": "blocks"}}, tiny.CONTRACT)
    with pytest.raises(InputError, match=r"model\.scan_blocks=True \(run: False\)"):
        _open(run, "diffusion", {**CONFIG, "model": {**younger, "scan_blocks": True}}, tiny.CONTRACT)
    full = tmp_path / "full"
    full.mkdir()
    (full / "thesis.txt").write_text("precious")
    with pytest.raises(InputError, match="holds something else"):
        _open(full, "diffusion", CONFIG, None)


@pytest.mark.parametrize(
    ("kind", "free", "fixed"),
    [
        ("gan", {"model": {"channels": [9]}, "gan": {"num_steps": 9, "penalty": 3.0}}, {"gan": {"latent": 9}}),
        ("class", {"gan": {"latent": 9}, "class_model": {"learning_rate": 9.0}}, {"class_model": {"width": 9.0}}),
        ("age", {"optimizer": {"name": "lion"}, "age_model": {"num_steps": 9}}, {"age_model": {"bins": 9}}),
        ("diffusion", {"gan": {"latent": 9}, "train": {"ema_decay": 0.9}}, {"train": {"power_ema": [0.1]}}),
        ("diffusion", {"train": {"loss_weight": "min_snr"}}, {"train": {"loss_weight": "uncertainty"}}),
    ],
)
def test_a_run_keeps_what_its_kind_reads_and_nothing_else(tmp_path, kind, free, fixed):
    whole = configs.to_json(configs.base_config())  # as 0.1 wrote it
    own = configs.to_json(configs.kind_config(configs.base_config(), kind))

    def changed(by):
        return {**own, **{section: {**own[section], **values} for section, values in by.items() if section in own}}

    _open(tmp_path / "run", kind, whole, None)
    ((section, values),) = fixed.items()
    (key,) = values
    with pytest.raises(InputError, match=rf"{section}\.{key}="):
        _open(tmp_path / "run", kind, changed(fixed), None)
    assert checkpoints.read_config(tmp_path / "run") == {"kind": kind, **whole}
    _open(tmp_path / "run", kind, changed(free), None)
    noted = [path for row in checkpoints.read_history(tmp_path / "run") for path in row["changes"]]
    assert noted == [f"{s}.{k}" for s in whole if s in own for k in free.get(s, ())]
    assert checkpoints.read_config(tmp_path / "run")["format"] == 2


def test_two_runs_in_one_folder(tmp_path):
    with stopping.lock(tmp_path):
        with pytest.raises(InputError, match="in use by"), stopping.lock(tmp_path):
            pass
        with stopping.lock(tmp_path, hold=False):  # another process of the same job
            pass
    (tmp_path / "lock").write_text('{"pid": 1, "host": "left by a dead run"}')
    with stopping.lock(tmp_path):
        pass


def test_metrics_of_a_killed_run(tmp_path):
    writer = metrics.MetricsWriter(tmp_path)
    for step in range(1, 6):
        writer.write(step, {"loss": 1.0 / step, "validation_loss": float("nan") if step == 2 else step * 1.0})
    writer.close()
    with (tmp_path / metrics.JSONL).open("a") as file:
        file.write('{"step": 6, "lo')
    assert [r["step"] for r in metrics.read_jsonl(tmp_path)] == [1, 2, 3, 4, 5]
    assert metrics.read_jsonl(tmp_path)[1]["validation_loss"] is None
    writer = metrics.MetricsWriter(tmp_path, 3)
    writer.write(4, {"loss": 9.0})
    writer.cut(2)
    writer.write(3, {"loss": 8.0})
    writer.close()
    assert [(r["step"], r["loss"]) for r in metrics.read_jsonl(tmp_path)] == [(1, 1.0), (2, 0.5), (3, 8.0)]
    assert list(tmp_path.glob("events.out.tfevents.*"))


def test_power_averages_of_any_length_are_reconstructed(tmp_path):
    # Weights that wander; averages of two lengths are stored, a third is rebuilt and compared with the truth.
    rng = np.random.default_rng(0)
    path = np.cumsum(rng.standard_normal((400, 5)), axis=0) / 20 + np.linspace(0, 3, 400)[:, None]
    widths = (0.05, 0.1, 0.07, 0.15)
    averages = {w: {"w": path[0] * 0} for w in widths}
    store = Store(tmp_path)
    decays = {w: np.asarray(ema.power_decay(jnp.arange(400), ema.power_exponent(w)), np.float64) for w in widths}
    for t in range(400):
        for w in widths:
            averages[w] = {"w": averages[w]["w"] + (1 - decays[w][t]) * (path[t] - averages[w]["w"])}
        if (t + 1) % 50 == 0:
            kept = {f"{w:g}": jax.tree.map(np.float32, averages[w]) for w in (0.05, 0.1)}
            store.snapshot(t + 1, kept)
    store.wait()
    store.close()
    spread = np.abs(averages[0.05]["w"] - averages[0.1]["w"]).max()
    for wanted in (0.05, 0.07, 0.1):
        error = np.abs(power_ema.reconstruct(tmp_path, wanted)["w"] - averages[wanted]["w"]).max()
        assert error < 0.02 * spread, wanted
    with pytest.raises(InputError, match="1 to 400"):
        power_ema.reconstruct(tmp_path, 0.1, step=401)
    (path,) = (tmp_path / "snapshots" / "400" / "sigma_0.1").glob("d/*")
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(InputError, match="snapshot: found damaged"):
        power_ema.reconstruct(tmp_path, 0.1)
    with pytest.raises(InputError, match="snapshots: found none"):
        power_ema.reconstruct(tmp_path / "none", 0.1)


def test_a_profile_is_its_own_best_approximation():
    steps, widths = np.array([100.0, 200, 300]), np.array([3.0, 5.0, 8.0])
    np.testing.assert_allclose(power_ema.coefficients(steps, widths, 200, 5.0), [0, 1, 0], atol=1e-6)
    # A profile integrates to 1 against the constant profile's density: p_0 = 1/t for exponent 0.
    ones = power_ema.inner_products(steps, widths, np.array([300.0] * 3), np.zeros(3))
    np.testing.assert_allclose(ones[:, 0], 1 / 300)


@pytest.mark.parametrize("sigma", [0.05, 0.1, 0.2])
def test_exponent_of_a_relative_width(sigma):
    g = ema.power_exponent(sigma)
    assert (g + 1) / ((g + 2) ** 2 * (g + 3)) == pytest.approx(sigma**2)


def test_saved_steps_of_no_run(tmp_path):
    assert saved_steps(tmp_path / "nothing") == []
