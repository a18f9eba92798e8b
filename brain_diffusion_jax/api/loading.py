"""Run folders to models."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypedDict, Unpack, cast, overload

from brain_diffusion_jax.api import hub
from brain_diffusion_jax.contract import Contract
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.tasks.age.model import AgeModel
from brain_diffusion_jax.tasks.autoencoder.model import AutoencoderModel
from brain_diffusion_jax.tasks.classifier.model import ClassModel
from brain_diffusion_jax.tasks.diffusion.model import DiffusionModel
from brain_diffusion_jax.tasks.gan.model import GanModel
from brain_diffusion_jax.tasks.model import Model
from brain_diffusion_jax.tasks.opening import open_run
from brain_diffusion_jax.tasks.predictor import PredictorModel
from brain_diffusion_jax.tasks.spec import TASKS, spec, spec_of
from brain_diffusion_jax.training.run_folder import checkpoints
from brain_diffusion_jax.training.run_folder.store import FOLDER

AnyModel = DiffusionModel | GanModel | AgeModel | ClassModel | AutoencoderModel


class _Weights(TypedDict, total=False):
    """Which weights of a run, see `load`."""

    step: int | None
    ema: bool


@overload
def load(path: str | Path, kind: None = None, **weights: Unpack[_Weights]) -> AnyModel: ...
@overload
def load(path: str | Path, kind: Literal["diffusion"], **weights: Unpack[_Weights]) -> DiffusionModel: ...
@overload
def load(path: str | Path, kind: Literal["gan"], **weights: Unpack[_Weights]) -> GanModel: ...
@overload
def load(path: str | Path, kind: Literal["age"], **weights: Unpack[_Weights]) -> AgeModel: ...
@overload
def load(path: str | Path, kind: Literal["class"], **weights: Unpack[_Weights]) -> ClassModel: ...
@overload
def load(path: str | Path, kind: Literal["autoencoder"], **weights: Unpack[_Weights]) -> AutoencoderModel: ...
@overload
def load(path: str | Path, kind: Literal["generator"], **weights: Unpack[_Weights]) -> DiffusionModel | GanModel: ...
@overload
def load(path: str | Path, kind: Literal["predictor"], **weights: Unpack[_Weights]) -> AgeModel | ClassModel: ...
def load(path: str | Path, kind: str | None = None, *, step: int | None = None, ema: bool = True) -> AnyModel:
    """Open a run folder, a converted checkpoint, a published folder or file, or hf://owner/name[@revision].

    kind: what it must be: a kind of `tasks.spec.TASKS` ("diffusion" on pixels or latents), "generator" (makes images)
    or "predictor" (reads them).
    step: which checkpoint (None: the newest whole one; of a model that reads images the best in validation).
    ema: the averaged parameters where they exist.
    Raises InputError when the folder is no run or of another kind, its config and weights do not belong together, or
    the weights are damaged or not finite.
    """
    path = hub.run_folder(path)
    _refuse_folder_of_runs(path)
    found = spec_of(checkpoints.read_config(path), path / checkpoints.CONFIG)
    groups: dict[str | None, tuple[tuple[type[Model], ...], str]] = {
        "generator": ((DiffusionModel, GanModel), "makes"),
        "predictor": ((PredictorModel,), "reads"),
    }
    if kind in groups:
        classes, verb = groups[kind]
        if not issubclass(found.model, classes):
            fitting = " or ".join(name for name in TASKS if issubclass(spec(name).model, classes))
            raise InputError(path, "kind", found.kind, f"{fitting}: a model that {verb} images")
    elif kind is not None and not issubclass(found.model, spec(kind).model):
        command = f"train-{kind}" if kind in ("age", "class", "gan") else "train"
        raise InputError(path, "kind", found.kind, f"{kind}, a run of `brain-diffusion {command}`")
    return cast(AnyModel, open_run(path, step=step, ema=ema))


def _refuse_folder_of_runs(path: Path) -> None:
    """A demo's folder holds runs and is none; who gives it is told which."""
    if path.is_dir() and not (path / FOLDER).is_dir():
        inner = sorted(run for run in path.iterdir() if (run / FOLDER).is_dir())
        if inner:
            raise InputError(path, "run folder", "a folder of runs", f"one of them: {', '.join(map(str, inner))}")


def slice_contract(model: Model, use: str) -> Contract:
    """The contract of a model of grey slices cut from volumes; refuses another model. use: what needs them."""
    contract = model.contract
    expected = f"grey slices cut from volumes, for {use}"
    if contract is None:
        raise InputError(model.path, "contract", "none", expected)
    if contract.kind != "slices" or contract.channels != 1 or not contract.grid.shape or not contract.slices.indices:
        size = "x".join(map(str, contract.image_size))
        raise InputError(model.path, "contract", f"{contract.kind} of {size}, {contract.channels} channels", expected)
    return contract
