"""Names and layouts of MONAI's DiffusionModelUNet, now and as GenerativeModels had them; pure text."""

from __future__ import annotations

import re
from collections.abc import Iterable

# Our module path, joined by dots -> MONAI's; every line is applied in turn. A path that ends in a dot
# is a block of several layers.
_MODULES: tuple[tuple[str, str], ...] = (
    (r"^conv_in$", "conv_in.conv"),
    (r"^conv_out$", "out.2.conv"),
    (r"^out_norm$", "out.0"),
    (r"^time_mlp\.$", "time_embed."),
    (r"^middle\.$", "middle_block."),
    (r"^time_mlp\.dense_0$", "time_embed.0"),
    (r"^time_mlp\.dense_1$", "time_embed.2"),
    (r"^(down|up)_(\d+)\.", r"\1_blocks.\2."),
    (r"^middle\.attention_0\.", "middle_block.attention."),
    (r"^middle\.res_0\.", "middle_block.resnet_1."),
    (r"^middle\.res_1\.", "middle_block.resnet_2."),
    (r"\.res_(\d+)\.", r".resnets.\1."),
    (r"\.attention_(\d+)\.", r".attentions.\1."),
    (r"\.(self|transformer)\.", "."),
    (r"\.layer_(\d+)\.", r".transformer_blocks.\1."),
    (r"\.ff_in$", ".ff.linear1"),
    (r"\.ff_out$", ".ff.linear2"),
    (r"\.(proj_in|proj_out|conv1|conv2)$", r".\1.conv"),
    (r"\.skip$", ".skip_connection.conv"),
    (r"\.time_projection$", ".time_emb_proj"),
    # A plain convolution changes the resolution, or a residual block does.
    (r"\.downsample$", ".downsampler.op.conv"),
    (r"\.upsample$", ".upsampler.postconv.conv"),
    (r"\.downsample\.", ".downsampler."),
    (r"\.upsample\.", ".upsampler."),
)
# Our leaf -> MONAI's.
_LEAVES = {"kernel": "weight", "scale": "weight", "embedding": "weight", "bias": "bias"}
# GenerativeModels (before MONAI 1.4) -> MONAI, and back.
_FROM_OLD = (
    (r"(attentions\.\d+|middle_block\.attention)\.(to_[qkv])\.", r"\1.attn.\2."),
    (r"\.proj_attn\.", ".attn.out_proj."),
    (r"\.to_out\.0\.", ".out_proj."),
    (r"\.upsampler\.conv\.conv\.", ".upsampler.postconv.conv."),
)
_TO_OLD = (
    (r"\.attn\.(to_[qkv])\.", r".\1."),
    (r"\.attn\.out_proj\.", ".proj_attn."),
    (r"\.(attn[12])\.out_proj\.", r".\1.to_out.0."),
    (r"\.upsampler\.postconv\.conv\.", ".upsampler.conv.conv."),
)


def _rewrite(name: str, rules: Iterable[tuple[str, str]]) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def monai_name(path: tuple[str, ...]) -> str:
    """("down_0", "res_1", "conv1", "kernel") -> "down_blocks.0.resnets.1.conv1.conv.weight"."""
    return f"{_rewrite('.'.join(path[:-1]), _MODULES)}.{_LEAVES[path[-1]]}"


def monai_module(path: tuple[str, ...]) -> tuple[str, str]:
    """What our module may be called there, as a single layer and as a block: ("down_0", "res_1") -> (.., ..)."""
    joined = ".".join(path)
    return _rewrite(joined, _MODULES), _rewrite(joined + ".", _MODULES).rstrip(".")


def modern(name: str) -> str:
    """A key as MONAI >= 1.4 has it, from either generation."""
    return _rewrite(name, _FROM_OLD)


def old(name: str) -> str:
    """A key of MONAI >= 1.4 as GenerativeModels had it."""
    return _rewrite(name, _TO_OLD)
