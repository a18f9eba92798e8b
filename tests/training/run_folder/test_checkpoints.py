"""Run folders: what they hold, and what is refused."""

from __future__ import annotations

import logging
import shutil

import numpy as np
import pytest
import tiny
from small_store import fill

from brain_diffusion_jax import config as configs
from brain_diffusion_jax.contract import Contract, ContractMismatch
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.tasks.spec import spec
from brain_diffusion_jax.training.run_folder import checkpoints

CONFIG = {"model": {"channels": [8]}, "train": {"num_steps": 9}}


def _open(run, kind, config, contract):
    checkpoints.require_same_run(run, kind, config, contract, spec(kind).kept)
    checkpoints.record_run(run, kind, config, contract)
    return bool(checkpoints.saved_steps(run))


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
