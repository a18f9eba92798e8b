"""Checkpoints: kept, damaged, foreign, and the disk full."""

from __future__ import annotations

import logging
import shutil

import numpy as np
import optax
import pytest
from small_store import ALL, damage, fill, small

from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.training.run_folder import checkpoints, metrics, step_folders
from brain_diffusion_jax.training.run_folder.store import Keep, Store, saved_steps

CONFIG = {"model": {"channels": [8]}, "train": {"num_steps": 9}}


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


def test_saved_steps_of_no_run(tmp_path):
    assert saved_steps(tmp_path / "nothing") == []
