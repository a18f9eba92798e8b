"""Settings to modules: the one place that knows which network the sections of a config describe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from brain_diffusion_jax.covariates import Categorical, Schema
from brain_diffusion_jax.errors import require
from brain_diffusion_jax.models.age_config import AgeNetworkConfig, TrunkConfig
from brain_diffusion_jax.models.conditioning import ConditionalUNet, CovariateTokens, RawToken
from brain_diffusion_jax.models.conditioning_config import ConditioningConfig
from brain_diffusion_jax.models.deep_brain_net import AgeNetwork, make_age_network
from brain_diffusion_jax.models.embeddings import TimeMLP
from brain_diffusion_jax.models.scalar_label import ScalarLabelUNet
from brain_diffusion_jax.models.unet import UNet
from brain_diffusion_jax.models.unet_config import ModelConfig, UNetConfig, unet_config


def unet(section: Mapping[str, Any]) -> UNet:
    """The UNet of a `model` section."""
    return UNet(unet_config(section))


def _raw_scaling(schema: Schema, raw: bool) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Offsets and scales that turn encoded values into units (raw), categories counting from 1; or leave them."""
    if not raw:
        return (0.0,) * len(schema.names), (1.0,) * len(schema.names)
    pairs = [(1.0, 1.0) if isinstance(c, Categorical) else (c.low, c.high - c.low) for c in schema.covariates]
    return tuple(float(p[0]) for p in pairs), tuple(float(p[1]) for p in pairs)


def conditioner(
    config: ConditioningConfig, schema: Schema, context_dim: int | None
) -> CovariateTokens | RawToken | None:
    """The conditioner of a config; None where the mode has none or the schema is empty."""
    mode, count = config.mode, len(schema.names)
    if mode in ("none", "external") or not count:
        return None
    if mode == "tokens":
        width = config.width or context_dim or 64
        require(context_dim in (None, width), "conditioning.width", width, f"model.context_dim ({context_dim})")
        return CovariateTokens(schema.cardinalities, width)
    require(context_dim in (None, count), "model.context_dim", context_dim, f"{count}, one for each of {schema.names}")
    offsets, scales = _raw_scaling(schema, mode == "raw")
    return RawToken(offsets, scales, float(config.raw_null))


def diffusion_network(
    model: ModelConfig, conditioning: ConditioningConfig, schema: Schema
) -> ConditionalUNet | ScalarLabelUNet:
    """The network of the config sections `model` and `conditioning` for conditions of `schema`.

    With conditioning.planes model.in_channels counts the planes too. Without a conditioner the UNet
    gets no context, so that model.context_dim must be None. conditioning.mode="scalar" is the small UNet
    of Nguyen et al. 2023, for which `model` gives only channels and out_channels. Raises InputError where the
    sections contradict each other or the schema.
    """
    how = conditioning
    if how.mode == "scalar":
        return ScalarLabelUNet(tuple(model.channels), model.out_channels, float(how.raw_null))
    tokens = conditioner(how, schema, model.context_dim)
    network = UNetConfig(**vars(model))
    require(
        tokens is not None or network.context_dim is None or how.mode == "external",
        "model.context_dim",
        network.context_dim,
        "None, without conditions",
    )
    summary = None
    if tokens is not None and how.time_embedding and how.mode == "tokens":
        summary = TimeMLP(network.time_dim)
    require(not how.planes or tokens is not None, "conditioning.planes", how.planes, "False, without conditions")
    numbers = None
    if how.planes and not isinstance(tokens, RawToken):
        numbers = RawToken(*_raw_scaling(schema, False), float(how.raw_null))
    return ConditionalUNet(UNet(network), tokens, summary, how.planes, numbers)


def age_network(settings: AgeNetworkConfig, axis_name: str | None = None) -> AgeNetwork:
    """The regressor of an `age_model` section. axis_name: of pmap, for batch statistics."""
    own = {f.name: getattr(settings, f.name) for f in fields(AgeNetworkConfig)}
    return make_age_network(**own, axis_name=axis_name)


def class_network(settings: TrunkConfig, classes: int, axis_name: str | None = None) -> AgeNetwork:
    """The classifier of a `class_model` section; its `raw` gives logits. axis_name: of pmap, for batch statistics."""
    own = {f.name: getattr(settings, f.name) for f in fields(TrunkConfig)}
    return make_age_network(**own, bins=classes, axis_name=axis_name)
