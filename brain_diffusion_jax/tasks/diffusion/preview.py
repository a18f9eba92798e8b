"""What a diffusion model in training makes for the conditions of held-out images, for the eye."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from brain_diffusion_jax.array_types import Params
from brain_diffusion_jax.covariates import Condition
from brain_diffusion_jax.data import picture_grid
from brain_diffusion_jax.diffusion import levels, samplers, sweep
from brain_diffusion_jax.diffusion.codec import Codec, PixelCodec
from brain_diffusion_jax.diffusion.process import Process
from brain_diffusion_jax.diffusion.sampling import SamplingSettings
from brain_diffusion_jax.pixels import to_unit
from brain_diffusion_jax.training.state import network_params


def make_preview(
    module: nn.Module,
    process: Process,
    settings: SamplingSettings,
    validation: dict[str, np.ndarray],
    codec: Codec | None = None,
    columns: int = 8,
) -> Callable[[Params], np.ndarray]:
    """params -> uint8 image: above, real held-out images; below, samples for their conditions, unguided and guided.

    settings: of the images. codec: None works on pixels; else real images are shown as they come back from it.
    """
    codec = codec or PixelCodec(process)
    rows = np.linspace(0, len(validation["image"]) - 1, columns).astype(int)
    condition = Condition(validation["values"][rows], validation["present"][rows])
    decode = jax.jit(codec.decode)
    shown = codec.encode(to_unit(jnp.asarray(validation["image"][rows])), jax.random.split(jax.random.key(2), columns))
    real = np.concatenate([np.asarray(decode(one[None])) for one in shown])
    points = levels.steps(process.table, min(20, settings.num_steps), settings.spacing)
    scales = jnp.asarray([1.0, settings.guidance_scale], jnp.float32)
    noise = jax.random.normal(jax.random.key(0), shown.shape)

    def network(params: Params, x: Any, t: Any, condition: Any) -> Any:
        return module.apply({"params": params}, x, t, *condition, train=False)

    def draw(params: Params) -> np.ndarray:
        denoise = process.denoise_fn(jax.tree_util.Partial(network, network_params(params)))
        samples = sweep.sweep(denoise, samplers.get("ddim"), points, noise, condition, jax.random.key(1), scales)
        drawn = samples.reshape(-1, *shown.shape[1:])
        units = np.concatenate([np.asarray(decode(one[None])) for one in drawn])
        return picture_grid.tile(np.concatenate([real, units]), columns)

    return draw
