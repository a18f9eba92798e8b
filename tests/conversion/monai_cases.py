"""Small DiffusionModelUNet configurations drawn over the whole option space, and their random weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Case:
    """arguments: MONAI's. size: spatial. tokens: of the context, 0 for context=None."""

    arguments: dict[str, Any]
    size: tuple[int, ...]
    batch: int
    tokens: int
    seed: int

    @property
    def conditioned(self) -> bool:
        return bool(self.arguments["with_conditioning"])


def draw(seed: int) -> Case:
    """One configuration. Even seeds are 2D, odd ones 3D; every third has a single level, so that odd sizes pass."""
    rng = np.random.default_rng(seed)

    def choose(*options: Any) -> Any:
        return options[rng.integers(len(options))]

    dims, depth = 2 + seed % 2, 1 if seed % 3 == 0 else 2
    groups = choose(4, 8, 2)
    conditioned = bool(rng.integers(2))
    channels = tuple(int(groups * choose(1, 2)) if groups == 8 else int(groups * choose(2, 3)) for _ in range(depth))
    levels = tuple(bool(rng.integers(2)) for _ in range(depth))
    divisors = [[d for d in range(1, c + 1) if c % d == 0 and (d > 1 or not conditioned)] for c in channels]
    heads = [int(choose(*d)) for d in divisors]
    if conditioned and rng.integers(3) == 0:
        heads[-1] = channels[-1] - 1  # divides nothing: the transformer is narrower than its input
    heads = [h if attends or i == depth - 1 else 0 for i, (h, attends) in enumerate(zip(heads, levels, strict=True))]
    tokens = int(choose(0, 1, 4, 1)) if conditioned else 0
    inner = {channels[-1] // heads[-1] * heads[-1]}
    inner |= {c // h * h for c, h, a in zip(channels, heads, levels, strict=True) if a}
    if conditioned and tokens == 0 and len(inner) > 1:
        tokens = 2  # MONAI attends to itself without a context: only where the widths agree
    width = inner.pop() if conditioned and tokens == 0 else int(choose(3, 5))
    multiple = 2 ** (depth - 1)
    size = tuple(multiple * int(choose(*((3, 5) if dims == 2 else (2, 3)))) for _ in range(dims))
    return Case(
        {
            "spatial_dims": dims,
            "in_channels": int(choose(1, 2, 7)),
            "out_channels": int(choose(1, 3)),
            "channels": channels,
            "num_res_blocks": tuple(int(choose(1, 2) if depth == 1 else choose(1, 1, 1, 2)) for _ in range(depth)),
            "attention_levels": levels,
            "num_head_channels": tuple(heads),
            "norm_num_groups": groups,
            "norm_eps": choose(1e-6, 1e-5, 1e-2),
            "resblock_updown": bool(rng.integers(2)),
            "with_conditioning": conditioned,
            "transformer_num_layers": int(choose(1, 2)) if depth == 1 else 1,
            "cross_attention_dim": width if conditioned else None,
            "num_class_embeds": choose(None, None, 4),
            "upcast_attention": bool(rng.integers(2)),
            "dropout_cattn": choose(0.0, 0.3) if conditioned else 0.0,
            "include_fc": bool(rng.integers(3)),
            "use_combined_linear": not rng.integers(3),
        },
        size,
        int(choose(1, 3)),
        tokens,
        seed,
    )


def network(arguments: dict[str, Any], seed: int = 0) -> Any:
    """MONAI's network with random weights everywhere; its own start has zeros that hide mistakes."""
    import torch
    from monai.networks.nets import DiffusionModelUNet

    torch.manual_seed(seed)
    return randomise(DiffusionModelUNet(**arguments).eval())


def randomise(net: Any) -> Any:
    """The network with other weights: kernels that keep the spread, norms near 1."""
    import torch

    with torch.no_grad():
        for name, p in net.named_parameters():
            spread = 0.7 / max(p[0].numel(), 1) ** 0.5 if p.ndim > 1 else 0.2
            p.copy_(torch.randn_like(p) * spread + (1.0 if "norm" in name and name.endswith("weight") else 0.0))
    return net


def state_of(net: Any) -> dict[str, np.ndarray]:
    return {name: p.detach().numpy().copy() for name, p in net.state_dict().items()}


def inputs(case: Case) -> dict[str, np.ndarray]:
    """x [b, c, *size], t, and context or labels where the case has them."""
    rng = np.random.default_rng(100 + case.seed)
    made: dict[str, np.ndarray] = {
        "x": rng.standard_normal((case.batch, case.arguments["in_channels"], *case.size)).astype(np.float32),
        "t": rng.integers(0, 1000, case.batch),
    }
    if case.tokens:
        shape = (case.batch, case.tokens, case.arguments["cross_attention_dim"])
        made["context"] = rng.standard_normal(shape).astype(np.float32)
    if case.arguments["num_class_embeds"]:
        made["class_labels"] = rng.integers(0, case.arguments["num_class_embeds"], case.batch)
    return made
