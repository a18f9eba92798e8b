"""A conditional diffusion model as users see it: conditions and settings in, unit images out."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from brain_diffusion_jax.array_types import DenoiseFn, Params
from brain_diffusion_jax.covariates import Condition, Schema
from brain_diffusion_jax.diffusion import levels, plan, samplers
from brain_diffusion_jax.diffusion.guidance import classifier_free
from brain_diffusion_jax.diffusion.plan import SamplingConfig
from brain_diffusion_jax.diffusion.process import Process
from brain_diffusion_jax.diffusion.sampling import Sampling
from brain_diffusion_jax.diffusion.stack import sample_stack
from brain_diffusion_jax.diffusion.sweep import check_scales
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.models import factory
from brain_diffusion_jax.models.conditioning import ConditionalUNet
from brain_diffusion_jax.models.scalar_label import ScalarLabelUNet
from brain_diffusion_jax.tasks.diffusion.config import DiffusionConfig
from brain_diffusion_jax.tasks.model import Conditions, Model, refuse_conditions, require_finite
from brain_diffusion_jax.training.run_folder import checkpoints


@dataclasses.dataclass(frozen=True)
class _Apply:
    """module.apply as a NetworkFn; equal for equal modules, so that one architecture compiles once."""

    module: Any

    def __call__(self, params: Params, x: Any, t: Any, condition: Condition | None) -> Any:
        values, present = (None, None) if condition is None else condition
        return self.module.apply({"params": params}, x, t, values, present)


class DiffusionModel(Model):
    """A conditional diffusion model. kind "diffusion".

    contract is None for foreign weights that came without one; then `schema` is that of the config.
    """

    kind = "diffusion"
    guided = True
    config: DiffusionConfig

    def with_params(self, params: Params) -> DiffusionModel:
        """This model with other weights of the same network, such as those of `power_ema.reconstruct`."""
        return DiffusionModel(self.path, self.config, self.contract, params, self.step)

    @functools.cached_property
    def schema(self) -> Schema:
        """What conditions mean."""
        if self.contract:
            return self.contract.schema
        return Schema.from_json(checkpoints.read_config(self.path).get("covariates", ()))

    @property
    def conditional(self) -> bool:
        """Whether a condition changes the images."""
        return self.config.conditioning.mode != "none" and bool(self.schema.names)

    @property
    def process(self) -> Process:
        """The noise the network was trained on."""
        return self.config.diffusion

    @functools.cached_property
    def module(self) -> ConditionalUNet | ScalarLabelUNet:
        """The linen module that `params` belong to."""
        return factory.diffusion_network(self.config.model, self.config.conditioning, self.schema)

    @functools.cached_property
    def denoise(self) -> DenoiseFn:
        """(x, level, condition) -> Prediction, for the samplers; its weights are traced, not compiled in."""
        return self.process.denoise_fn(jax.tree_util.Partial(_Apply(self.module), self.params))

    @functools.cached_property
    def _raw_network(self) -> Any:
        if isinstance(self.module, ScalarLabelUNet):
            return jax.jit(
                lambda params, x, t, values, present: self.module.apply({"params": params}, x, t, values, present)
            )
        unet = self.module.unet.clone(parent=None, name=None)
        return jax.jit(
            lambda params, x, t, context, labels: unet.apply({"params": params["unet"]}, x, t, context, labels)
        )

    def network(self, x: Any, t: Any, context: Any = None, class_labels: Any = None) -> Float[Array, "n *spatial c"]:
        """The raw forward pass. x: [n, *spatial, in] in the network's range; t: [n]; context: [n, tokens, width].

        class_labels: int [n]; of a network that takes labels as numbers (conditioning.mode "scalar") [n] or
        [n, covariates], NaN where absent, None for none; such a network has no context.
        """
        x, t = jnp.asarray(x, jnp.float32), jnp.asarray(t, jnp.float32)
        if isinstance(self.module, ScalarLabelUNet):
            if context is not None:
                raise InputError(self.path, "context", "tokens", "class_labels: this network has no cross-attention")
            shape = (len(x), len(self.schema.names))
            values = np.full(shape, np.nan) if class_labels is None else np.asarray(class_labels, float).reshape(shape)
            present = np.isfinite(values)
            held = np.where(present, values, 0.0).astype(np.float32)
            return jnp.asarray(self._raw_network(self.params, x, t, held, present))
        context = None if context is None else jnp.asarray(context, jnp.float32)
        labels = None if class_labels is None else jnp.asarray(class_labels, jnp.int32)
        return jnp.asarray(self._raw_network(self.params, x, t, context, labels))

    def _shape(self, image_size: tuple[int, ...] | None) -> tuple[int, ...]:
        size = image_size or (self.contract.image_size if self.contract else None)
        if size is None:
            raise InputError(self.path, "image_size", "no contract", "image_size=(rows, cols) with converted weights")
        return (*size, self.config.model.out_channels)

    def sample_cells(
        self,
        conditions: Conditions,
        cells: Sequence[SamplingConfig],
        *,
        batch_size: int | None = None,
        start: int = 0,
        image_size: tuple[int, ...] | None = None,
        **settings: Any,
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (position of the first, float32 [cells, b, rows, cols, 1] in [0, 1]) batch by batch.

        cells: settings that share a program (`plan.programs`); they share the noise. settings: fixed,
        plain_apart of `plan.run_configs` and share_first of `sweep.sweep` (both on where there is more than one
        batch), memory_limit, devices of `sweep.sweep`; this process's devices share a batch by default.
        Image i depends on its cell, i and its condition alone, not on batch_size; start skips the first
        ones. One compiled program whatever scales, seeds, conditions; with plain_apart one more for scale 1.
        Raises InputError, naming cell and condition, where an image is not finite.
        """
        refuse_conditions(self.path, self.conditional, conditions)
        encoded = self.schema.encode(conditions)
        shape = self._shape(image_size)
        size = max(1, (batch_size or self.config.sample.batch_size) // len(cells))
        size = max(1, min(size, len(conditions) - start))
        again = len(cells) > 1 and len(conditions) - start > size  # less work a batch, for more to compile
        settings = {"plain_apart": again, "share_first": again, **settings}
        settings.setdefault("devices", jax.local_devices() if jax.local_device_count() > 1 else None)
        for first in range(start, len(conditions), size):
            index = np.minimum(np.arange(first, first + size), len(conditions) - 1)  # the last batch is padded
            batch = Condition(encoded.values[index], encoded.present[index])
            x = plan.run_configs(cells, self.denoise, self.process.table, batch, shape, start=first, **settings)
            chosen = conditions[first : first + size]
            for cell, finite in zip(cells, np.asarray(_finite(x)), strict=True):
                require_finite(self.path, finite[: len(chosen)], chosen, cell.label())
            yield first, np.asarray(self.process.to_unit(x))[:, : len(chosen)]

    def sampling(self, **given: Any) -> Sampling:
        """The settings of the run's config with what is given (None: not given), see `Sampling`.

        Raises InputError for settings that cannot be.
        """
        sampling = Sampling.resolve(self.config.sample, **given)
        sampling.config()
        levels.select(self.process.table, sampling.num_steps, sampling.spacing)
        return sampling

    def batches(
        self,
        conditions: Conditions,
        sampling: Sampling,
        seed: int = 0,
        start: int = 0,
        *,
        image_size: tuple[int, ...] | None = None,
    ) -> Iterator[tuple[int, Float[np.ndarray, "b rows cols 1"]]]:
        """Yield (position of the first, images in [0, 1]) batch by batch, as `sample_cells`."""
        options: dict[str, Any] = {"batch_size": sampling.batch_size, "start": start, "image_size": image_size}
        for first, images in self.sample_cells(conditions, [sampling.config(seed)], **options):
            yield first, images[0]

    def cells(
        self, scales: Sequence[float], *, seed: int = 0, guidance: str = "cfg", **given: Any
    ) -> list[SamplingConfig]:
        """Checked settings for `sample_cells`, one a guidance scale. given: as of `sampling`."""
        cell = dataclasses.replace(self.sampling(**given).config(seed), guidance=guidance)
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
        """Images in [0, 1] for every guidance scale, common noise; settings as of `cells`."""
        cells = self.cells(scales, **settings)
        if not conditions:
            return np.zeros((len(cells), 0, *self._shape(image_size)), np.float32)
        batches = self.sample_cells(conditions, cells, batch_size=batch_size, image_size=image_size)
        return np.concatenate([images for _, images in batches], axis=1)

    def sample(
        self,
        conditions: Conditions,
        guidance_scale: float | None = None,
        sampler: str | None = None,
        num_steps: int | None = None,
        seed: int = 0,
        **settings: Any,
    ) -> Float[np.ndarray, "n rows cols 1"]:
        """Images in [0, 1], one a condition, e.g. {"age": 70, "sex": "F", "slice": 45}.

        A covariate left out is unconditional; {} leaves out all. Settings that are not given are those of the run's
        config; guidance_scale 1 is off. Same seed, same images. Raises InputError for conditions outside the schema.
        """
        scale = self.config.sample.guidance_scale if guidance_scale is None else guidance_scale
        settings |= {"sampler": sampler, "num_steps": num_steps, "seed": seed}
        return np.asarray(self.sweep(conditions, [scale], **settings)[0])

    def sample_volume(
        self,
        condition: Mapping[str, object],
        slices: Sequence[int],
        guidance_scale: float | None = None,
        *,
        num_steps: int | None = None,
        seed: int = 0,
        spacing: str | None = None,
        covariate: str = "slice",
        **couplings: Any,
    ) -> Float[np.ndarray, "slices rows cols 1"]:
        """All slices of one head sampled together (`stack.sample_stack`), images in [0, 1].

        slices: values of `covariate`, in order. couplings: noise and overlap settings of `sample_stack`.
        Deterministic DDIM, so that what neighbours share is kept.
        """
        conditions = [{**condition, covariate: int(k)} for k in slices]
        given = {"guidance_scale": guidance_scale, "num_steps": num_steps, "spacing": spacing}
        cell = self.sampling(**given, sampler="ddim", eta=0.0).config(seed)
        path = jax.tree.map(jnp.asarray, levels.select(self.process.table, cell.num_steps, cell.spacing))
        encoded = Condition(*map(jnp.asarray, self.schema.encode(conditions)))
        scale = None if cell.guidance_scale == 1.0 else jnp.float32(cell.guidance_scale)
        fixed = self._shape(None), tuple(sorted(couplings.items()))
        x = _sample_stack(self.denoise, path, encoded, scale, jax.random.key(seed), *fixed)
        require_finite(self.path, _finite(x), conditions, f"{cell.label()} {couplings}")
        return np.asarray(self.process.to_unit(x))


def _finite(x: Any) -> Any:
    """Which images [..., rows, cols, channels] are finite; before `to_unit`, which makes infinity white."""
    return jnp.isfinite(x).all(axis=(-3, -2, -1))


@functools.partial(jax.jit, static_argnames=("shape", "couplings"))
def _sample_stack(
    denoise: Any, path: Any, condition: Condition, scale: Any, key: Any, shape: Any, couplings: Any
) -> Any:
    guided = denoise if scale is None else classifier_free(denoise, scale)
    return sample_stack(samplers.get("ddim"), guided, path, condition, key, shape, **dict(couplings))


MODEL = DiffusionModel
