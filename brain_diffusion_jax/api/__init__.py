"""The public Python API: `load(path)` opens a run folder and gives a Model; the cli stands on it too."""

from __future__ import annotations

from pathlib import Path

from brain_diffusion_jax import config as configs
from brain_diffusion_jax.api.diffusion_model import DiffusionModel
from brain_diffusion_jax.api.gan_model import GanModel
from brain_diffusion_jax.api.judges import AgeModel, ClassModel
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.training.run_folder import checkpoints

__all__ = ["AgeModel", "ClassModel", "DiffusionModel", "GanModel", "load"]
_KINDS: dict[str, type[DiffusionModel | GanModel | AgeModel | ClassModel]] = {
    model.kind: model for model in (DiffusionModel, GanModel, AgeModel, ClassModel)
}


def load(
    path: str | Path, *, step: int | None = None, ema: bool = True
) -> DiffusionModel | GanModel | AgeModel | ClassModel:
    """Open a run folder or a converted checkpoint.

    step: which checkpoint (None: the newest whole one; of a model that reads pictures the best in validation).
    ema: the averaged parameters where they exist.
    Raises InputError when the folder is no run, its config and weights do not belong together, or the weights are
    damaged or not finite.
    """
    path = Path(path)
    items = checkpoints.read_config(path)
    kind = items.pop("kind", DiffusionModel.kind)
    if kind not in _KINDS:
        raise InputError(path / checkpoints.CONFIG, "kind", kind, " or ".join(_KINDS))
    reads_pictures = issubclass(_KINDS[kind], AgeModel | ClassModel)
    if reads_pictures and step is None:
        step = checkpoints.best_step(path)  # such a network overfits; the newest is rarely the best
    step, params, state = checkpoints.load_weights(path, step, ema)
    if reads_pictures:
        params = {"params": params, **state}
    config = configs.from_json(items, path / checkpoints.CONFIG)
    return _KINDS[kind](path, config, checkpoints.read_contract(path), params, step)
