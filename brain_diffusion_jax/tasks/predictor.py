"""What opened networks that read images share."""

from __future__ import annotations

import functools
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from brain_diffusion_jax.array_types import Params
from brain_diffusion_jax.config import part
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.tasks.model import Model
from brain_diffusion_jax.tasks.predictor_config import PredictorSettings
from brain_diffusion_jax.training import optimizer
from brain_diffusion_jax.training.settings import SharedSettings, TrainSettings


class PredictorModel(Model):
    """A network that reads images. params are whole variables: parameters and batch statistics."""

    whole_variables = True
    module: Any

    @functools.cached_property
    def _program(self) -> Any:
        module = self.module

        @functools.partial(jax.jit, static_argnames="options")
        def apply(params: Params, images: Any, options: tuple[tuple[str, Any], ...]) -> Any:
            return module.apply(params, images, **dict(options))

        return apply

    def _run(self, images: Any, batch_size: int, **options: Any) -> np.ndarray:
        images = np.asarray(images)
        dims = self.module.trunk.spatial_dims
        if images.ndim != dims + 2 or images.shape[-1] not in (1, 3):
            axes = "rows, cols" if dims == 2 else "x, y, z"
            raise InputError("images", "shape", images.shape, f"[n, {axes}, 1 or 3]")
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
            padded = np.pad(chunk, ((0, size - len(chunk)), *((0, 0),) * (dims + 1)))
            parts.append(np.asarray(self._program(self.params, padded, tuple(options.items())))[: len(chunk)])
        return np.concatenate(parts).astype(np.float32)

    def features(self, images: Any, batch_size: int = 64) -> Float[np.ndarray, "n d"]:
        """What the network sees after global pooling. images: [n, *spatial, 1 or 3] in [0, 1]."""
        return self._run(images, batch_size, features=True)


def loop_settings(train: SharedSettings, own: PredictorSettings, *, early_stopping: int = 0) -> TrainSettings:
    """Those of config section `train`, with what the predictor's own section says; its best step is kept.

    early_stopping: validations without a better loss (0: off).
    """
    return part(
        TrainSettings,
        train,
        num_steps=own.num_steps,
        ema_decay=own.ema_decay,
        validate_every=own.validate_every,
        checkpoint_every=own.validate_every,
        early_stopping=early_stopping,
        sample_every=0,
        keep_last=1,
        keep_best=1,
    )


def recipe(own: PredictorSettings, **more: Any) -> dict[str, Any]:
    """What a Task needs of optimizer and learning rate. more: fields of `OptimizerSettings`."""
    return optimizer.recipe(
        optimizer.OptimizerSettings(
            learning_rate=own.learning_rate,
            weight_decay=own.weight_decay,
            warmup_steps=min(100, own.num_steps // 10),
            **more,
        ),
        own.num_steps,
    )
