"""MONAI's DiffusionModelUNet <-> our UNet: architecture from shapes, parameters by name, all of them or none."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp

from brain_diffusion_jax.conversion import monai_names, placing
from brain_diffusion_jax.conversion.torch_files import State
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.models import factory
from brain_diffusion_jax.models.unet import UNet

# Keys of config.model that MONAI does not have, with the value that its network has, and those that it names otherwise.
_OURS_ALONE = {"patch_size": 1, "patches": "pixels", "coordinates": 0, "scan_blocks": False}
_NOT_MONAI = (*_OURS_ALONE, "dtype", "remat", "fast_conv_gradient", "context_dim")


@dataclass(frozen=True)
class Converted:
    """params: the UNet's, nested dicts of float32 numpy arrays. model: a whole config section `model`.

    assumed: settings that neither the file nor the caller gave, a line each.
    """

    params: dict[str, Any]
    model: dict[str, Any]
    assumed: tuple[str, ...] = ()


def _count(state: State, pattern: str) -> int:
    """1 + the largest number that `pattern` captures among the keys, 0 if none."""
    numbers = [int(m.group(1)) for m in map(re.compile(pattern).match, state) if m]
    return 1 + max(numbers) if numbers else 0


def architecture(state: State, where: object = "state dict") -> dict[str, Any]:
    """The part of config section `model` that names and shapes determine. state: MONAI >= 1.4 names."""
    needed = ["conv_in.conv.weight", "out.2.conv.weight", "time_embed.0.weight"]
    depth = _count(state, r"up_blocks\.(\d+)\.")
    needed += [f"up_blocks.{i}.resnets.0.conv1.conv.weight" for i in range(depth)]
    absent = [name for name in needed if name not in state]
    if absent or not depth:
        keys = f"{len(state)} keys ({', '.join(sorted(state)[:6])}, ...)"
        expected = "the state dict of a MONAI DiffusionModelUNet; --prefix picks a network inside a larger one"
        raise InputError(where, "keys", f"no {', '.join(absent) or 'up_blocks'} among {keys}", expected)
    conv_in = state["conv_in.conv.weight"].shape
    middle = "middle_block.attention."
    context = state.get(middle + "transformer_blocks.0.attn2.to_k.weight")
    attention = middle + ("attn." if context is None else "transformer_blocks.0.attn1.")
    table = state.get("class_embedding.weight")
    return {
        "spatial_dims": len(conv_in) - 2,
        "in_channels": conv_in[1],
        "out_channels": state["out.2.conv.weight"].shape[0],
        "channels": tuple(state[n].shape[0] for n in reversed(needed[3:])),
        "num_res_blocks": tuple(_count(state, rf"down_blocks\.{i}\.resnets\.(\d+)\.") for i in range(depth)),
        "attention_levels": tuple(_count(state, rf"down_blocks\.{i}\.attentions\.(\d+)\.") > 0 for i in range(depth)),
        "resblock_updown": "down_blocks.0.downsampler.norm1.weight" in state,
        "transformer_num_layers": _count(state, re.escape(middle) + r"transformer_blocks\.(\d+)\.") or 1,
        "context_dim": None if context is None else context.shape[1],
        "num_class_embeds": None if table is None else table.shape[0],
        "include_fc": attention + "out_proj.weight" in state,
        "use_combined_linear": attention + "qkv.weight" in state,
    }


def _divisors(number: int) -> str:
    return ", ".join(str(d) for d in range(1, number + 1) if number % d == 0)


def _unanswered(sizes: Mapping[str, Any], heads: Any, groups: Any) -> list[str]:
    """The settings that shapes do not determine and the caller did not give, each with its possible values."""
    questions, channels = [], sizes["channels"]
    if heads is None:
        attends = [a or i == len(channels) - 1 for i, a in enumerate(sizes["attention_levels"])]
        choices = [f"level {i}: {_divisors(c)}" for i, (c, a) in enumerate(zip(channels, attends)) if a]
        example = ",".join(str(c if a else 0) for c, a in zip(channels, attends))
        questions.append(
            f"num_head_channels (--head-channels), one number a level, 0 where there is no attention, such as "
            f"{example} for one head ({'; '.join(choices)})"
        )
    if groups is None:
        possible = _divisors(math.gcd(*channels))
        questions.append(f"norm_num_groups (--norm-groups), 32 in MONAI unless changed (one of {possible})")
    return questions


def from_monai(
    state: State,
    *,
    num_head_channels: tuple[int, ...] | int | None = None,
    norm_num_groups: int | None = None,
    norm_eps: float | None = None,
    upcast_attention: bool = False,
    dropout_cattn: float = 0.0,
    where: object = "state dict",
) -> Converted:
    """Our parameters and `model` section from a state dict of either generation of names.

    Shapes do not determine head channels, norm groups and eps. The first two must be given; eps is taken as
    MONAI's 1e-6 and reported so. Raises InputError with the full list of keys that are missing, left
    over or misshapen; nothing is converted then.
    """
    given, state = state, {monai_names.modern(name): array for name, array in state.items()}
    if len(state) < len(given):
        raise InputError(where, "keys", "old and new names of the same tensors", "one generation of names")
    sizes = architecture(state, where)
    questions = _unanswered(sizes, num_head_channels, norm_num_groups)
    if questions:
        raise InputError(where, "architecture", "shapes that do not tell " + " nor ".join(questions), "these options")
    assumed = () if norm_eps is not None else ("norm_eps = 1e-6, MONAI's default (--norm-eps gives another)",)
    model = {
        **sizes,
        "num_head_channels": num_head_channels,
        "norm_num_groups": norm_num_groups,
        "norm_eps": 1e-6 if norm_eps is None else norm_eps,
        "upcast_attention": upcast_attention,
        "dropout_cattn": dropout_cattn,
        **_OURS_ALONE,
        "dtype": "float32",
        "remat": "none",
    }
    network = factory.unet(model)
    model["num_head_channels"] = network.config.num_head_channels
    paths = expected_shapes(network)
    places = {monai_names.monai_name(path): path for path in paths}
    return Converted(placing.place(state, places, paths, where, "UNet"), model, assumed)


def expected_shapes(network: UNet) -> dict[tuple[str, ...], tuple[int, ...]]:
    """Shape of every parameter of a UNet by its path; nothing is computed."""
    size = (1,) + (network.config.size_multiple,) * network.config.spatial_dims + (network.config.in_channels,)
    context = None if network.config.context_dim is None else jnp.zeros((1, 1, network.config.context_dim))
    labels = None if network.config.num_class_embeds is None else jnp.zeros((1,), jnp.int32)
    shapes = placing.shapes_of(network.init, jnp.zeros(size), jnp.zeros((1,)), context, labels)
    return {path[1:]: shape for path, shape in shapes.items()}


def to_monai(params: Mapping[str, Any], model: Mapping[str, Any], *, names: str = "new") -> State:
    """A state dict for MONAI's DiffusionModelUNet(**monai_arguments(model)). names: "new" (>= 1.4) | "old".

    Raises InputError where MONAI has no such network (patches, position features, scanned blocks; "old" names
    for a joint qkv or a missing projection) or params do not belong to model.
    """
    network = factory.unet(model)
    for key, theirs in _OURS_ALONE.items():
        if getattr(network.config, key) != theirs:
            found = getattr(network.config, key)
            raise InputError("convert", f"model.{key}", found, f"{theirs}, as in MONAI's network")
    if names not in ("new", "old"):
        raise InputError("convert", "names", names, "new (MONAI >= 1.4) or old (GenerativeModels)")
    if names == "old" and (network.config.use_combined_linear or not network.config.include_fc):
        raise InputError(
            "convert", "names", "old", "new: GenerativeModels had neither a joint qkv nor include_fc=False"
        )
    paths, rename = expected_shapes(network), monai_names.old if names == "old" else str
    places = {rename(monai_names.monai_name(path)): path for path in paths}
    return placing.unplace(params, places, paths, "model")


def monai_arguments(model: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments of MONAI's DiffusionModelUNet for a config section `model`."""
    arguments = {k: v for k, v in dict(model).items() if k not in _NOT_MONAI}
    context = model.get("context_dim")
    return {**arguments, "with_conditioning": context is not None, "cross_attention_dim": context}
