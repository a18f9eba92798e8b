"""MONAI's AutoencoderKL <-> our Autoencoder of layout "monai": architecture from names and shapes, all keys or none.

MONAI numbers the blocks of encoder and decoder; which block is what follows from the names inside it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import jax.numpy as jnp

from brain_diffusion_jax.conversion import placing
from brain_diffusion_jax.conversion.torch_files import State
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.models.autoencoder import Autoencoder
from brain_diffusion_jax.models.autoencoder_config import AutoencoderConfig

_QUANT = {
    "to_mean": "quant_conv_mu.conv",
    "to_log_variance": "quant_conv_log_sigma.conv",
    "from_latent": "post_quant_conv.conv",
}
# Inside a block: our layer -> MONAI's.
_LAYERS = {"conv1": "conv1.conv", "conv2": "conv2.conv", "skip": "nin_shortcut.conv"}
# What a block is, by the first of these keys that it has.
_KINDS = {
    "norm1.weight": "res",
    "norm.weight": "attention",
    "conv.conv.weight": "resample",
    "postconv.conv.weight": "resample",
    "conv.weight": "conv",
    "weight": "norm",
}
# GenerativeModels (before MONAI 1.4) -> MONAI, and back.
_FROM_OLD = (
    (r"(blocks\.\d+)\.(to_[qkv])\.", r"\1.attn.\2."),
    (r"(blocks\.\d+)\.proj_attn\.", r"\1.attn.out_proj."),
    (r"^(decoder\.blocks\.\d+)\.conv\.conv\.", r"\1.postconv.conv."),
)
_TO_OLD = (
    (r"(blocks\.\d+)\.attn\.(to_[qkv])\.", r"\1.\2."),
    (r"(blocks\.\d+)\.attn\.out_proj\.", r"\1.proj_attn."),
    (r"^(decoder\.blocks\.\d+)\.postconv\.conv\.", r"\1.conv.conv."),
)
NAMES = ("new", "old")


@dataclass(frozen=True)
class ConvertedAutoencoder:
    """params: the Autoencoder's, nested dicts of float32 arrays. assumed: settings that nobody gave, a line each."""

    params: dict[str, Any]
    config: AutoencoderConfig
    spatial_dims: int
    in_channels: int
    out_channels: int
    assumed: tuple[str, ...] = ()

    @property
    def network(self) -> Autoencoder:
        """The network that the parameters belong to."""
        return Autoencoder(self.config, self.spatial_dims, self.in_channels, self.out_channels)


def _renamed(state: State, rules: tuple[tuple[str, str], ...], where: object) -> State:
    def rename(name: str) -> str:
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        return name

    renamed = {rename(name): array for name, array in state.items()}
    if len(renamed) < len(state):
        raise InputError(where, "keys", "old and new names of the same tensors", "one generation of names")
    return renamed


def _modules(config: AutoencoderConfig) -> Iterator[tuple[str, str]]:
    """(our module, MONAI's) of every block, in the order of MONAI's numbers."""
    levels, last = list(zip(config.num_res_blocks, config.attention_levels)), len(config.channels) - 1

    def level(name: str, blocks: int, attends: bool) -> Iterator[str]:
        for j in range(blocks):
            yield f"{name}.res_{j}"
            if attends:
                yield f"{name}.attention_{j}"

    middle = ["middle.res_0", "middle.attention_0", "middle.res_1"]
    encoder, decoder = ["conv_in"], ["conv_in", *(middle if config.decoder_attention else [])]
    for i in range(last + 1):
        encoder += [*level(f"down_{i}", *levels[i]), *([f"down_{i}.downsample"] if i < last else [])]
        decoder += [*level(f"up_{i}", *levels[last - i]), *([f"up_{i}.upsample"] if i < last else [])]
    encoder += middle if config.encoder_attention else []
    suffix = {"downsample": ".conv.conv", "upsample": ".postconv.conv", "conv_in": ".conv", "conv_out": ".conv"}
    for part, modules in (("encoder", encoder), ("decoder", decoder)):
        for number, module in enumerate([*modules, "out_norm", "conv_out"]):
            yield f"{part}.{module}", f"{part}.blocks.{number}{suffix.get(module.rpartition('.')[2], '')}"


def monai_places(config: AutoencoderConfig, shapes: Mapping[placing.Path, Any]) -> dict[str, placing.Path]:
    """Our path of every one of MONAI's names (>= 1.4). shapes: by the paths of our parameters."""
    modules = {**_QUANT, **dict(_modules(config))}
    places = {}
    for path in shapes:
        *layers, leaf = path
        depth = next(d for d in range(len(layers), 0, -1) if ".".join(layers[:d]) in modules)
        inner = [_LAYERS.get(layer, layer) for layer in layers[depth:]]
        theirs = [modules[".".join(layers[:depth])], *inner, "bias" if leaf == "bias" else "weight"]
        places[".".join(theirs)] = path
    return places


def expected_shapes(network: Autoencoder) -> dict[placing.Path, tuple[int, ...]]:
    """Shape of every parameter of an Autoencoder by its path; nothing is computed."""
    size = (network.config.size_multiple,) * network.spatial_dims
    shapes = placing.shapes_of(network.init, jnp.zeros((1, *size, network.in_channels)))
    return {path[1:]: shape for path, shape in shapes.items()}


def _blocks(state: State, part: str, where: object) -> list[str]:
    """The kind of every block of "encoder" or "decoder"; a key that belongs to none is refused."""
    inside: dict[int, set[str]] = {}
    for name in state:
        if found := re.match(rf"{part}\.blocks\.(\d+)\.(.+)", name):
            inside.setdefault(int(found[1]), set()).add(found[2])
    kinds = []
    for number in range(len(inside)):
        kind = next((k for key, k in _KINDS.items() if key in inside.get(number, ())), None)
        if kind is None:
            named = f"{part}.blocks.{number}: {', '.join(sorted(inside.get(number, ()))[:6]) or 'no keys'}"
            raise InputError(
                where, "keys", named, "residual blocks, attention, or a change of resolution by nearest x2"
            )
        kinds.append(kind)
    return kinds


def _levels(kinds: list[str], state: State, part: str) -> list[tuple[int, int, int]]:
    """(residual blocks, attention blocks, channels) of each level in the order of the file."""
    found, blocks, attends, channels = [], 0, 0, 0
    for number, kind in enumerate(kinds[1:-1], start=1):
        if kind == "res":
            blocks += 1
            channels = state[f"{part}.blocks.{number}.conv2.conv.weight"].shape[0]
        attends += kind == "attention"
        if kind in ("resample", "norm"):
            found.append((blocks, attends, channels))
            blocks = attends = 0
    return found


def architecture(state: State, where: object = "state dict") -> dict[str, Any]:
    """What names and shapes determine of AutoencoderConfig, with spatial_dims, in_channels and out_channels.

    state: MONAI >= 1.4 names.
    """
    needed = [*(f"{name}.weight" for name in _QUANT.values()), "encoder.blocks.0.conv.weight"]
    absent = [name for name in needed if name not in state]
    if absent:
        found = f"no {', '.join(absent)} among {len(state)} keys ({', '.join(sorted(state)[:6])}, ...)"
        raise InputError(where, "keys", found, "the state dict of a MONAI AutoencoderKL")
    down, up = (_levels(_blocks(state, part, where), state, part) for part in ("encoder", "decoder"))
    if not down or len(down) != len(up):
        found = f"{len(down)} levels in the encoder, {len(up)} in the decoder"
        raise InputError(where, "encoder.blocks, decoder.blocks", found, "as many, each of one block or more")
    # The middle adds two residual blocks and one attention to the coarsest level.
    around = [0 < level[1] != level[0] for level in (down[-1], up[0])]
    levels = [*down[:-1], (down[-1][0] - 2 * around[0], down[-1][1] - around[0], down[-1][2])]
    if min(level[0] for level in levels) < 1:
        raise InputError(where, "encoder.blocks", "a level without residual blocks", "one or more in every level")
    conv_in, last = state["encoder.blocks.0.conv.weight"], max(_numbers(state, "decoder"))
    return {
        "spatial_dims": conv_in.ndim - 2,
        "in_channels": conv_in.shape[1],
        "out_channels": state[f"decoder.blocks.{last}.conv.weight"].shape[0],
        "channels": tuple(level[2] for level in levels),
        "num_res_blocks": tuple(level[0] for level in levels),
        "attention_levels": tuple(level[1] > 0 for level in levels),
        "latent_channels": state["quant_conv_mu.conv.weight"].shape[0],
        "encoder_attention": around[0],
        "decoder_attention": around[1],
        **_attention_layers(state),
    }


def _numbers(state: State, part: str) -> list[int]:
    return [int(found[1]) for name in state if (found := re.match(rf"{part}\.blocks\.(\d+)\.conv\.weight", name))]


def _attention_layers(state: State) -> dict[str, bool]:
    if not any(".attn." in name for name in state):
        return {}
    return {
        "include_fc": any(".attn.out_proj." in name for name in state),
        "use_combined_linear": any(".attn.qkv." in name for name in state),
    }


def from_monai(
    state: State, *, norm_num_groups: int | None = None, norm_eps: float | None = None, where: object = "state dict"
) -> ConvertedAutoencoder:
    """Our parameters and config from a state dict of either generation of names.

    Shapes do not determine norm groups and eps: the first must be given, eps is taken as MONAI's 1e-6 and reported
    so. Raises InputError with the full list of keys that are missing, left over or misshapen.
    """
    state = _renamed(state, _FROM_OLD, where)
    settings = architecture(state, where)
    if norm_num_groups is None:
        found = "shapes that do not tell norm_num_groups (--norm-groups), 32 in MONAI unless changed"
        raise InputError(where, "architecture", found, "this option")
    sizes = {name: settings.pop(name) for name in ("spatial_dims", "in_channels", "out_channels")}
    eps = 1e-6 if norm_eps is None else norm_eps
    config = AutoencoderConfig(layout="monai", norm_num_groups=norm_num_groups, norm_eps=eps, **settings)
    shapes = expected_shapes(Autoencoder(config, **sizes))
    params = placing.place(state, monai_places(config, shapes), shapes, where, "AutoencoderKL")
    assumed = () if norm_eps is not None else ("norm_eps = 1e-6, MONAI's default (--norm-eps gives another)",)
    return ConvertedAutoencoder(params, config, **sizes, assumed=assumed)


def to_monai(params: Mapping[str, Any], network: Autoencoder, *, names: str = "new") -> State:
    """A state dict for MONAI's AutoencoderKL(**monai_arguments(network)). names: "new" (>= 1.4) | "old".

    Raises InputError for a network that MONAI does not have (layout "patched"; "old" names for a joint qkv or a
    missing projection) or params that do not belong to it.
    """
    config = network.config
    if config.patch != 1:
        raise InputError("convert", "autoencoder.layout", config.layout, "monai: MONAI has no patches")
    if names not in NAMES:
        raise InputError("convert", "names", names, "new (MONAI >= 1.4) or old (GenerativeModels)")
    attends = config.encoder_attention or config.decoder_attention or any(config.attention_levels)
    if names == "old" and attends and (config.use_combined_linear or not config.include_fc):
        raise InputError(
            "convert", "names", "old", "new: GenerativeModels had neither a joint qkv nor include_fc=False"
        )
    shapes = expected_shapes(network)
    state = placing.unplace(params, monai_places(config, shapes), shapes, "autoencoder")
    return _renamed(state, _TO_OLD, "convert") if names == "old" else state


def monai_arguments(network: Autoencoder) -> dict[str, Any]:
    """Keyword arguments of MONAI's AutoencoderKL for a network."""
    given = asdict(network.config)
    same = ("channels", "num_res_blocks", "attention_levels", "latent_channels", "norm_num_groups", "norm_eps")
    return {
        "spatial_dims": network.spatial_dims,
        "in_channels": network.in_channels,
        "out_channels": network.out_channels or network.in_channels,
        **{name: given[name] for name in (*same, "include_fc", "use_combined_linear")},
        "with_encoder_nonlocal_attn": network.config.encoder_attention,
        "with_decoder_nonlocal_attn": network.config.decoder_attention,
    }
