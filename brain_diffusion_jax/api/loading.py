"""Run folders to models."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, cast, overload

from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.tasks.age.model import AgeModel
from brain_diffusion_jax.tasks.classifier.model import ClassModel
from brain_diffusion_jax.tasks.diffusion.model import DiffusionModel
from brain_diffusion_jax.tasks.gan.model import GanModel
from brain_diffusion_jax.tasks.opening import open_run
from brain_diffusion_jax.tasks.spec import spec_of
from brain_diffusion_jax.training.run_folder import checkpoints

AnyModel = DiffusionModel | GanModel | AgeModel | ClassModel
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
    found = spec_of(checkpoints.read_config(path), path / checkpoints.CONFIG)
    if kind is not None:
        wanted, expected = _ASKED[kind]
        if found.kind not in wanted:
            raise InputError(path, "kind", found.kind, expected)
    return cast(AnyModel, open_run(path, step=step, ema=ema))
