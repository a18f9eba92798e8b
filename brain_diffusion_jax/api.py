"""The public Python API: `load(path)` opens a run folder and gives a Model; the cli stands on it too."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from brain_diffusion_jax import config as configs
from brain_diffusion_jax.array_types import DenoiseFn, Params
from brain_diffusion_jax.contract import Contract
from brain_diffusion_jax.covariates import Condition, Schema
from brain_diffusion_jax.diffusion import levels, plan, samplers
from brain_diffusion_jax.diffusion.guidance import classifier_free
from brain_diffusion_jax.diffusion.plan import Cell
from brain_diffusion_jax.diffusion.process import Process
from brain_diffusion_jax.diffusion.stack import sample_stack
from brain_diffusion_jax.diffusion.sweep import check_scales
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.models import factory
from brain_diffusion_jax.training import checkpoints

Conditions = Sequence[Mapping[str, object]]


def load(path: str | Path, *, step: int | None = None, ema: bool = True) -> DiffusionModel | AgeModel:
    """Open a run folder or a converted checkpoint.

    step: which checkpoint (None: the newest whole one; of an age model the best in validation).
    ema: the averaged parameters where they exist.
    Raises InputError when the folder is no run, or its config and weights do not belong together.
    """
    path = Path(path)
    items = checkpoints.read_config(path)
    kinds: dict[str, type[DiffusionModel] | type[AgeModel]] = {"diffusion": DiffusionModel, "age": AgeModel}
    kind = items.pop("kind", "diffusion")
    if kind not in kinds:
        raise InputError(path / checkpoints.CONFIG, "kind", kind, " or ".join(kinds))
    if kind == "age" and step is None:
        step = checkpoints.best_step(path)  # a regressor overfits; the newest is rarely the best
    params = checkpoints.load_params(path, step=step, ema=ema)
    if kind == "age":
        params = {"params": params, **checkpoints.load_model_state(path, step)}
    return kinds[kind](path, configs.from_json(items), checkpoints.read_contract(path), params)


class _Model:
    kind = ""

    def __init__(self, path: Path, config: ConfigDict, contract: Contract | None, params: Params) -> None:
        self.path, self.config, self.contract, self.params = path, config, contract, params

    def __repr__(self) -> str:
        count = sum(int(np.size(leaf)) for leaf in jax.tree.leaves(self.params))
        return f"{type(self).__name__}({str(self.path)!r}, {count / 1e6:.2f} M parameters)"


@dataclasses.dataclass(frozen=True)
class _Apply:
    """module.apply as a NetworkFn; equal for equal modules, so that one architecture compiles once."""

    module: Any

    def __call__(self, params: Params, x: Any, t: Any, condition: Condition | None) -> Any:
        values, present = (None, None) if condition is None else condition
        return self.module.apply({"params": params}, x, t, values, present)


class DiffusionModel(_Model):
    """A conditional diffusion model. kind "diffusion".

    contract is None for foreign weights that came without one; then `schema` is that of the config.
    """

    kind = "diffusion"

    @functools.cached_property
    def schema(self) -> Schema:
        """What conditions mean."""
        return self.contract.schema if self.contract else Schema.from_json(self.config.covariates)

    @functools.cached_property
    def process(self) -> Process:
        """The noise the network was trained on."""
        return Process(**self.config.diffusion)

    @functools.cached_property
    def module(self) -> Any:
        """The linen module that `params` belong to."""
        return factory.diffusion_network(self.config.model, self.config.conditioning, self.schema)

    @functools.cached_property
    def _denoise(self) -> DenoiseFn:
        return self.process.denoise_fn(jax.tree_util.Partial(_Apply(self.module), self.params))

    @functools.cached_property
    def _raw_network(self) -> Any:
        unet = self.module.unet.clone(parent=None, name=None)
        return jax.jit(lambda params, x, t, context, labels: unet.apply({"params": params}, x, t, context, labels))

    def network(self, x: Any, t: Any, context: Any = None, class_labels: Any = None) -> Float[Array, "n *spatial c"]:
        """The raw forward pass. x: [n, *spatial, in] in the network's range; t: [n]; context: [n, tokens, width]."""
        x, t = jnp.asarray(x, jnp.float32), jnp.asarray(t, jnp.float32)
        context = None if context is None else jnp.asarray(context, jnp.float32)
        labels = None if class_labels is None else jnp.asarray(class_labels, jnp.int32)
        return self._raw_network(self.params["unet"], x, t, context, labels)

    def _shape(self, image_size: tuple[int, ...] | None) -> tuple[int, ...]:
        size = image_size or (self.contract.image_size if self.contract else None)
        if size is None:
            raise InputError(self.path, "image_size", "no contract", "image_size=(rows, cols) with converted weights")
        return (*size, self.config.model.out_channels)

    def sample_cells(
        self,
        conditions: Conditions,
        cells: Sequence[Cell],
        *,
        batch_size: int | None = None,
        start: int = 0,
        image_size: tuple[int, ...] | None = None,
        **settings: Any,
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (position of the first, float32 [cells, b, rows, cols, 1] in [0, 1]) batch by batch.

        cells: settings that share a program (`plan.programs`); they share the noise. settings: fixed,
        memory_limit, devices of `sweep.sweep`. Picture i depends on its cell, i and its condition alone, not on
        batch_size; start skips the first ones. One compiled program whatever scales, seeds, conditions.
        """
        encoded = self.schema.encode(conditions)
        shape = self._shape(image_size)
        size = max(1, (batch_size or self.config.sample.batch_size) // len(cells))
        size = max(1, min(size, len(conditions) - start))
        for first in range(start, len(conditions), size):
            index = np.minimum(np.arange(first, first + size), len(conditions) - 1)  # the last batch is padded
            batch = Condition(encoded.values[index], encoded.present[index])
            x = plan.run_cells(cells, self._denoise, self.process.table, batch, shape, start=first, **settings)
            yield first, np.asarray(self.process.to_unit(x))[:, : len(conditions) - first]

    def cells(
        self,
        scales: Sequence[float],
        *,
        sampler: str = "ddim",
        num_steps: int = 50,
        seed: int = 0,
        eta: float | None = None,
        spacing: str | None = None,
        guidance: str = "cfg",
    ) -> list[Cell]:
        """Checked settings for `sample_cells`, one a guidance scale. eta: of samplers that have it."""
        spacing = spacing or self.config.sample.spacing
        knobs = () if eta is None else (("eta", float(eta)),)
        cell = Cell(sampler, num_steps, spacing, guidance, seed=seed, sampler_knobs=knobs)
        levels.select(self.process.table, num_steps, spacing)
        return [dataclasses.replace(cell, guidance_scale=float(w)) for w in check_scales(list(scales))]

    def sweep(
        self,
        conditions: Conditions,
        scales: Sequence[float],
        *,
        batch_size: int | None = None,
        image_size: tuple[int, ...] | None = None,
        **settings: Any,
    ) -> Float[np.ndarray, "s n rows cols 1"]:
        """Pictures in [0, 1] for every guidance scale, common noise; settings as of `cells`."""
        cells = self.cells(scales, **settings)
        if not conditions:
            return np.zeros((len(cells), 0, *self._shape(image_size)), np.float32)
        batches = self.sample_cells(conditions, cells, batch_size=batch_size, image_size=image_size)
        return np.concatenate([pictures for _, pictures in batches], axis=1)

    def sample(
        self,
        conditions: Conditions,
        guidance_scale: float = 3.0,
        sampler: str = "ddim",
        num_steps: int = 50,
        seed: int = 0,
        **settings: Any,
    ) -> Float[np.ndarray, "n rows cols 1"]:
        """Pictures in [0, 1], one a condition, e.g. {"age": 70, "sex": "F", "slice": 45}.

        A covariate left out is unconditional; {} leaves out all. guidance_scale 1 is off. Same seed,
        same pictures. Raises InputError for conditions outside the schema.
        """
        settings |= {"sampler": sampler, "num_steps": num_steps, "seed": seed}
        return self.sweep(conditions, [guidance_scale], **settings)[0]

    def sample_volume(
        self,
        condition: Mapping[str, object],
        slices: Sequence[int],
        guidance_scale: float = 3.0,
        *,
        num_steps: int = 50,
        seed: int = 0,
        spacing: str | None = None,
        covariate: str = "slice",
        **couplings: Any,
    ) -> Float[np.ndarray, "slices rows cols 1"]:
        """All slices of one head sampled together (`stack.sample_stack`), pictures in [0, 1].

        slices: values of `covariate`, in order. couplings: noise and overlap settings of `sample_stack`.
        Deterministic DDIM, so that what neighbours share is kept.
        """
        conditions = [{**condition, covariate: int(k)} for k in slices]
        cell = self.cells([guidance_scale], num_steps=num_steps, seed=seed, spacing=spacing)[0]
        path = levels.select(self.process.table, num_steps, cell.spacing)
        shape = self._shape(None)
        rule = "off" if guidance_scale == 1.0 else "cfg"

        @functools.partial(jax.jit, static_argnames="rule")
        def program(denoise: Any, condition: Condition, scale: Any, key: Any, rule: str) -> Any:
            guided = denoise if rule == "off" else classifier_free(denoise, scale)
            return sample_stack(samplers.get("ddim"), guided, path, condition, key, shape, **couplings)

        encoded = Condition(*map(jnp.asarray, self.schema.encode(conditions)))
        x = program(self._denoise, encoded, jnp.float32(guidance_scale), jax.random.key(seed), rule)
        return np.asarray(self.process.to_unit(x))


class AgeModel(_Model):
    """A regressor of age from pictures. kind "age"."""

    kind = "age"

    @functools.cached_property
    def module(self) -> Any:
        """The linen module that `params` belong to."""
        return factory.age_network(self.config.age_model)

    @functools.cached_property
    def _program(self) -> Any:
        module = self.module

        @functools.partial(jax.jit, static_argnames="features")
        def apply(params: Params, images: Any, features: bool) -> Any:
            return module.apply(params, images, features=features)

        return apply

    def _run(self, images: Any, features: bool, batch_size: int) -> np.ndarray:
        images = np.asarray(images)
        if images.ndim != 4 or images.shape[-1] not in (1, 3):
            raise InputError("images", "shape", images.shape, "[n, rows, cols, 1 or 3]")
        if (
            images.dtype == np.uint8
            or not np.all(np.isfinite(images))
            or images.min(initial=0) < 0
            or images.max(initial=0) > 1
        ):
            raise InputError("images", "values", f"{images.dtype} {images.min()} to {images.max()}", "floats in [0, 1]")
        size = min(batch_size, max(1, len(images)))
        parts = []
        for first in range(0, max(1, len(images)), size):
            chunk = images[first : first + size].astype(np.float32)
            padded = np.pad(chunk, ((0, size - len(chunk)), *((0, 0),) * 3))
            parts.append(np.asarray(self._program(self.params, padded, features))[: len(chunk)])
        return np.concatenate(parts).astype(np.float32)

    def predict(self, images: Any, batch_size: int = 64) -> Float[np.ndarray, " n"]:
        """Ages in years. images: [n, rows, cols, 1 or 3] in [0, 1]."""
        return self._run(images, False, batch_size).reshape(-1)

    def features(self, images: Any, batch_size: int = 64) -> Float[np.ndarray, "n d"]:
        """What the network sees after global pooling. images: [n, rows, cols, 1 or 3] in [0, 1]."""
        return self._run(images, True, batch_size)
