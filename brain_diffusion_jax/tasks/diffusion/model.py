"""A conditional diffusion model as users see it: conditions and settings in, images in [0, 1] out."""

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
from brain_diffusion_jax.diffusion.codec import Codec, PixelCodec
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
        return type(self)(self.path, self.config, self.contract, params, self.step)

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
    def codec(self) -> Codec:
        """Between images and what the network sees."""
        return PixelCodec(self.process)

    def decoded(self, x: Any) -> Float[np.ndarray, "*n rows cols 1"]:
        """Images in [0, 1] of what a sampler made, [..., *shape]."""
        return np.asarray(self.codec.decode(x))

    @functools.cached_property
    def module(self) -> ConditionalUNet | ScalarLabelUNet:
        """The linen module that `params` belong to."""
        return factory.diffusion_network(self.config.model, self.config.conditioning, self.schema)

    @functools.cached_property
    def denoise(self) -> DenoiseFn:
        """(x, level, condition) -> Prediction, for the samplers; its weights are traced, not compiled in."""
        return self.process.denoise_fn(jax.tree_util.Partial(_Apply(self.module), self.params))

    @functools.cached_property
    def _forward(self) -> Any:
        """The compiled network: (params, x, t, ...) -> its output, without the conditioner of a `ConditionalUNet`."""
        if isinstance(self.module, ScalarLabelUNet):
            return jax.jit(lambda params, *inputs: self.module.apply({"params": params}, *inputs))
        unet = self.module.unet.clone(parent=None, name=None)
        return jax.jit(lambda params, *inputs: unet.apply({"params": params["unet"]}, *inputs))

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
            return jnp.asarray(self._forward(self.params, x, t, held, present))
        context = None if context is None else jnp.asarray(context, jnp.float32)
        labels = None if class_labels is None else jnp.asarray(class_labels, jnp.int32)
        return jnp.asarray(self._forward(self.params, x, t, context, labels))

    def image_shape(self, image_size: tuple[int, ...] | None = None) -> tuple[int, ...]:
        """(*spatial, channels) of one image; image_size: instead of the contract's."""
        size = image_size or (self.contract.image_size if self.contract else None)
        if size is None:
            expected = "image_size=(rows, cols), or (x, y, z), with converted weights"
            raise InputError(self.path, "image_size", "no contract", expected)
        return (*size, self.config.model.out_channels)

    def sample_configs(
        self,
        conditions: Conditions,
        configs: Sequence[SamplingConfig],
        *,
        batch_size: int | None = None,
        start: int = 0,
        image_size: tuple[int, ...] | None = None,
        positions: Sequence[int] | None = None,
        **settings: Any,
    ) -> Iterator[tuple[int, Float[np.ndarray, "configs b *spatial c"]]]:
        """Yield (position of the first, images in [0, 1]) batch by batch.

        configs: those of one program (`plan.programs`), sampled from the same noise. settings: fixed, plain_apart of
        `plan.run_configs` and share_first of `sweep.sweep` (both on where there is more than one batch), memory_limit,
        devices of `sweep.sweep`, by default all devices of this process. Image i depends on its configuration, i and
        its condition alone, not on batch_size; start skips the first ones. positions: of the conditions in a longer
        list, whose noise they then have (None: 0, 1, 2 ...). One compiled program whatever scales, seeds, conditions;
        with plain_apart one more for scale 1. Raises InputError, naming configuration and condition, where an image
        is not finite.
        """
        refuse_conditions(self.path, self.conditional, conditions)
        for config in configs:
            self._require_spacing(config.sampler, config.spacing)
        encoded = self.schema.encode(conditions)
        shape = self.codec.latent_shape(self.image_shape(image_size))
        size = max(1, (batch_size or self.config.sample.batch_size) // len(configs))
        size = max(1, min(size, len(conditions) - start))
        again = len(configs) > 1 and len(conditions) - start > size  # less work a batch, for more to compile
        settings = {"plain_apart": again, "share_first": again, **settings}
        settings.setdefault("devices", jax.local_devices() if jax.local_device_count() > 1 else None)
        for first in range(start, len(conditions), size):
            index = np.minimum(np.arange(first, first + size), len(conditions) - 1)  # the last batch is padded
            batch = Condition(encoded.values[index], encoded.present[index])
            places = first if positions is None else [positions[i] for i in index]
            x = plan.run_configs(configs, self.denoise, self.process.table, batch, shape, start=places, **settings)
            chosen = conditions[first : first + size]
            for config, finite in zip(configs, np.asarray(_finite(x, len(shape))), strict=True):
                require_finite(self.path, finite[: len(chosen)], chosen, config.label())
            yield first, self.decoded(x[:, : len(chosen)])

    def sampling(self, **given: Any) -> Sampling:
        """The settings of the run's config with what is given (None: not given), see `Sampling`.

        Raises InputError for settings that cannot be, and for DDIM on linear times where the config says leading ones.
        """
        sampling = Sampling.resolve(self.config.sample, **given)
        self._require_spacing(sampling.sampler, sampling.spacing)
        sampling.config()
        levels.steps(self.process.table, sampling.num_steps, sampling.spacing)
        return sampling

    def _require_spacing(self, sampler: str, spacing: str) -> None:
        """Refuse linear times for weights marked leading: neither GenerativeModels nor MONAI steps so."""
        if (self.config.sample.spacing, sampler, spacing) == ("leading", "ddim", "linear"):
            expected = "leading, as the config of these weights has it, or monai, the steps of MONAI 1.6"
            raise InputError(self.path, "spacing", "linear, of DDIM", expected)

    def batches(
        self,
        conditions: Conditions,
        sampling: Sampling,
        seed: int = 0,
        start: int = 0,
        *,
        image_size: tuple[int, ...] | None = None,
    ) -> Iterator[tuple[int, Float[np.ndarray, "b *spatial c"]]]:
        """Yield (position of the first, images in [0, 1]) batch by batch, as `sample_configs`."""
        options: dict[str, Any] = {"batch_size": sampling.batch_size, "start": start, "image_size": image_size}
        for first, images in self.sample_configs(conditions, [sampling.config(seed)], **options):
            yield first, images[0]

    def at(
        self, conditions: Conditions, places: Sequence[int], sampling: Sampling
    ) -> Float[np.ndarray, "n *spatial c"]:
        """Images in [0, 1], one a condition, with the noise of these places in an endless list of seed 0: one batch."""
        how: dict[str, Any] = {"batch_size": len(conditions), "positions": places, "plain_apart": True}
        ((_, images),) = self.sample_configs(conditions, [sampling.config()], **how)
        return np.asarray(images[0])

    def sweep(
        self,
        conditions: Conditions,
        scales: Sequence[float],
        *,
        seed: int = 0,
        guidance: str = "cfg",
        batch_size: int | None = None,
        image_size: tuple[int, ...] | None = None,
        **given: Any,
    ) -> Float[np.ndarray, "s n *spatial c"]:
        """Images in [0, 1] for every guidance scale of one rule, from common noise. given: as of `sampling`."""
        config = dataclasses.replace(self.sampling(**given).config(seed), guidance=guidance)
        configs = [dataclasses.replace(config, guidance_scale=float(w)) for w in check_scales(list(scales))]
        if not conditions:
            return np.zeros((len(configs), 0, *self.image_shape(image_size)), np.float32)
        batches = self.sample_configs(conditions, configs, batch_size=batch_size, image_size=image_size)
        return np.concatenate([images for _, images in batches], axis=1)

    def sample(
        self,
        conditions: Conditions,
        guidance_scale: float | None = None,
        sampler: str | None = None,
        num_steps: int | None = None,
        seed: int = 0,
        **settings: Any,
    ) -> Float[np.ndarray, "n *spatial c"]:
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
    ) -> Float[np.ndarray, "slices rows cols c"]:
        """All slices of one head sampled together (`stack.sample_stack`), images in [0, 1].

        slices: values of `covariate`, in order. couplings: noise and overlap settings of `sample_stack`.
        Deterministic DDIM, so that what neighbours share is kept.
        """
        conditions = [{**condition, covariate: int(k)} for k in slices]
        given = {"guidance_scale": guidance_scale, "num_steps": num_steps, "spacing": spacing}
        config = self.sampling(**given, sampler="ddim", eta=0.0).config(seed)
        path = jax.tree.map(jnp.asarray, levels.select(self.process.table, config.num_steps, config.spacing))
        encoded = Condition(*map(jnp.asarray, self.schema.encode(conditions)))
        scale = None if config.guidance_scale == 1.0 else jnp.float32(config.guidance_scale)
        fixed = self.codec.latent_shape(self.image_shape()), tuple(sorted(couplings.items()))
        x = _sample_stack(self.denoise, path, encoded, scale, jax.random.key(seed), *fixed)
        require_finite(self.path, _finite(x, x.ndim - 1), conditions, f"{config.label()} {couplings}")
        return self.decoded(x)


def _finite(x: Any, axes: int) -> Any:
    """Which images, of so many last axes, are finite; before they are clipped, which makes infinity white."""
    return jnp.isfinite(x).all(axis=tuple(range(-axes, 0)))


@functools.partial(jax.jit, static_argnames=("shape", "couplings"))
def _sample_stack(
    denoise: Any, path: Any, condition: Condition, scale: Any, key: Any, shape: Any, couplings: Any
) -> Any:
    guided = denoise if scale is None else classifier_free(denoise, scale)
    return sample_stack(samplers.get("ddim"), guided, path, condition, key, shape, **dict(couplings))


MODEL = DiffusionModel
