"""What every kind of model must do; that layouts and accumulation change nothing is in training/test_topologies.py,
that runs of 0.1 open and go on in test_released.py.
"""

from __future__ import annotations

import functools
from importlib import import_module
from pathlib import Path

import jax
import numpy as np
import pytest
import tiny
import tiny_runs

from brain_diffusion_jax import api
from brain_diffusion_jax.api import conversions, run_summary
from brain_diffusion_jax.cli.main import COMMANDS
from brain_diffusion_jax.config.defaults import config_class
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.tasks.spec import TASKS, TaskSpec, spec
from brain_diffusion_jax.training.devices import compile_cache
from brain_diffusion_jax.training.run_folder import checkpoints

TINY = {
    "diffusion": tiny.diffusion_task,
    "age": tiny.age_task,
    "class": tiny.class_task,
    "gan": tiny.gan_task,
    "autoencoder": tiny.autoencoder_task,
    "latent_diffusion": tiny.latent_task,
}
RUNS = {
    "diffusion": tiny_runs.diffusion_run,
    "age": tiny_runs.age_run,
    "class": lambda folder: tiny_runs.class_run(folder, tiny_runs.CLASSES),
    "gan": tiny_runs.gan_run,
    "autoencoder": tiny_runs.autoencoder_run,
    "latent_diffusion": tiny_runs.latent_run,
}
# The other objectives of a kind: what holds of every kind must hold of them.
TINY_OBJECTIVES = {"vae-gan": tiny.vae_gan_task}
RUNS_OF_OBJECTIVES = {
    name: functools.partial(lambda folder, more: tiny_runs.gan_run(folder, *more), more=more)
    for name, more in tiny_runs.OBJECTIVES.items()
}


def everything(run: Path) -> dict[str, np.ndarray]:
    """All arrays of the last checkpoint."""
    folder = run / "checkpoints" / str(checkpoints.saved_steps(run)[-1])
    trees = {name: checkpoints.numpy_tree(folder / name) for name in ("params", "ema", "rest")}
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(trees)}


@pytest.mark.parametrize("kind", TASKS)
def test_a_kind_is_declared_once_and_whole(kind: str) -> None:
    declared = spec(kind)
    assert isinstance(declared, TaskSpec)
    assert declared.kind == kind
    assert declared.package == TASKS[kind]
    assert declared.config is config_class(kind)
    assert set(TINY) == set(TASKS)
    assert kind in ("diffusion", "autoencoder", "latent_diffusion") or f"train-{kind}" in COMMANDS
    assert declared.model.kind == kind
    assert all(hasattr(import_module(f"{declared.package}.task"), name) for name in ("build", "settings", "loading"))
    assert not declared.reports or (declared.report.write and declared.report.summary)


@pytest.mark.parametrize("name", [*TASKS, *TINY_OBJECTIVES])
def test_a_run_that_goes_on_ends_as_one_that_was_not_stopped_bit_for_bit(name: str, tmp_path: Path) -> None:
    compile_cache.enable()
    options = dict(validate_every=0, checkpoint_every=0, power_ema=(0.1,), config={"seed": 3}, seed=3)
    task = {**TINY, **TINY_OBJECTIVES}[name]
    tiny.train(tmp_path / "whole", task=task(), num_steps=4, **options)
    for steps in (2, 4):
        assert tiny.train(tmp_path / "halves", task=task(), num_steps=steps, **options).step == steps
    whole, halves = everything(tmp_path / "whole"), everything(tmp_path / "halves")
    assert whole.keys() == halves.keys()
    for path, leaf in whole.items():
        np.testing.assert_array_equal(leaf, halves[path], err_msg=path)


@pytest.mark.parametrize("name", [*TASKS, *RUNS_OF_OBJECTIVES])
def test_a_run_is_described_opened_published_and_opened_again(name: str, tmp_path: Path) -> None:
    kind = name if name in TASKS else "gan"
    run = {**RUNS, **RUNS_OF_OBJECTIVES}[name](tmp_path / "run")
    assert run_summary.describe(run)["kind"] == kind
    model = api.load(run)
    assert type(model) is spec(kind).model
    does = ("predict", "reconstruct") if not spec(kind).makes_images else ("sample",)
    assert any(hasattr(model, name) for name in does)

    card = conversions.publish(run, tmp_path / "model.safetensors").read_text()
    assert spec(kind).output in card
    assert spec(kind).use in card
    assert "{condition}" not in card
    conversions.unpack(tmp_path / "model.safetensors", tmp_path / "again")
    again = api.load(tmp_path / "again")
    assert again.version == model.version
    assert type(again) is type(model)


def test_an_unknown_kind_is_refused(tmp_path: Path) -> None:
    run = RUNS["gan"](tmp_path / "run")
    items = checkpoints.read_config(run)
    checkpoints.write_json(run / checkpoints.CONFIG, {**items, "kind": "gam"})
    for call in (api.load, run_summary.describe):
        with pytest.raises(InputError, match="kind: found gam; expected diffusion or age or class or gan or"):
            call(run)
