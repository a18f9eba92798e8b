"""Run folders to models."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, overload

from brain_diffusion_jax import config as configs
from brain_diffusion_jax.api.diffusion_model import DiffusionModel
from brain_diffusion_jax.api.gan_model import GanModel
from brain_diffusion_jax.api.judges import AgeModel, ClassModel
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.training.run_folder import checkpoints

AnyModel = DiffusionModel | GanModel | AgeModel | ClassModel
MODELS: dict[str, type[AnyModel]] = {model.kind: model for model in (DiffusionModel, GanModel, AgeModel, ClassModel)}
# What may be asked for: kinds of models, and what is expected instead of another one.
_ASKED: dict[str, tuple[tuple[str, ...], str]] = {
    "diffusion": (("diffusion",), "a diffusion model: nothing else has samplers, steps and guidance"),
    "gan": (("gan",), "gan, a run of `brain-diffusion train-gan`"),
    "age": (("age",), "age, a run of `brain-diffusion train-age`"),
    "class": (("class",), "class, a run of `brain-diffusion train-class`"),
    "generator": (("diffusion", "gan"), "diffusion or gan: a model that makes pictures"),
    "predictor": (("age", "class"), "age or class: a model that reads pictures"),
}


@overload
def load(path: str | Path, kind: None = None, *, step: int | None = None, ema: bool = True) -> AnyModel: ...
@overload
def load(
    path: str | Path, kind: Literal["diffusion"], *, step: int | None = None, ema: bool = True
) -> DiffusionModel: ...
@overload
def load(path: str | Path, kind: Literal["gan"], *, step: int | None = None, ema: bool = True) -> GanModel: ...
@overload
def load(path: str | Path, kind: Literal["age"], *, step: int | None = None, ema: bool = True) -> AgeModel: ...
@overload
def load(path: str | Path, kind: Literal["class"], *, step: int | None = None, ema: bool = True) -> ClassModel: ...
@overload
def load(
    path: str | Path, kind: Literal["generator"], *, step: int | None = None, ema: bool = True
) -> DiffusionModel | GanModel: ...
@overload
def load(
    path: str | Path, kind: Literal["predictor"], *, step: int | None = None, ema: bool = True
) -> AgeModel | ClassModel: ...


def load(path: str | Path, kind: str | None = None, *, step: int | None = None, ema: bool = True) -> AnyModel:
    """Open a run folder or a converted checkpoint.

    kind: what it must be, "diffusion", "gan", "age", "class", "generator" (makes images) or "predictor" (reads them).
    step: which checkpoint (None: the newest whole one; of a model that reads images the best in validation).
    ema: the averaged parameters where they exist.
    Raises InputError when the folder is no run or of another kind, its config and weights do not belong together, or
    the weights are damaged or not finite.
    """
    path = Path(path)
    items = checkpoints.read_config(path)
    found = items.setdefault("kind", DiffusionModel.kind)
    if found not in MODELS:
        raise InputError(path / checkpoints.CONFIG, "kind", found, " or ".join(MODELS))
    wanted, expected = _ASKED[kind] if kind is not None else (tuple(MODELS), "")
    if found not in wanted:
        raise InputError(path, "kind", found, expected)
    reads_images = issubclass(MODELS[found], AgeModel | ClassModel)
    if reads_images and step is None:
        step = checkpoints.best_step(path)  # such a network overfits; the newest is rarely the best
    step, params, state = checkpoints.load_weights(path, step, ema)
    if reads_images:
        params = {"params": params, **state}
    config = configs.from_json(items, path / checkpoints.CONFIG)
    return MODELS[found](path, config, checkpoints.read_contract(path), params, step)
