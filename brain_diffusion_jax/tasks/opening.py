"""Run folders to models, by what their kind declares."""

from __future__ import annotations

from pathlib import Path

from brain_diffusion_jax import config as configs
from brain_diffusion_jax.tasks.model import Model
from brain_diffusion_jax.tasks.spec import spec_of
from brain_diffusion_jax.training.run_folder import checkpoints


def open_run(path: str | Path, *, step: int | None = None, ema: bool = True) -> Model:
    """The model of a run folder or a converted checkpoint, of whatever kind.

    step: which checkpoint (None: the newest whole one; of a predictor the best in validation).
    ema: the averaged parameters where they exist.
    Raises InputError when the folder is no run, its config and weights do not belong together, or the weights are
    damaged or not finite.
    """
    path = Path(path)
    items = checkpoints.read_config(path)
    declared = spec_of(items, path / checkpoints.CONFIG)
    if not declared.makes_images and declared.ranks and step is None:
        step = checkpoints.best_step(path)  # such a network overfits; the newest is rarely the best
    step, params, state = checkpoints.load_weights(path, step, ema)
    if declared.model.whole_variables:
        params = {"params": params, **state}
    config = configs.from_json({**items, "kind": declared.kind}, path / checkpoints.CONFIG)
    return declared.model(path, declared.read(config), checkpoints.read_contract(path), params, step)
