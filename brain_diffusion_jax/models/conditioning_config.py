"""How conditions reach the network: the section `conditioning` of a config."""

from __future__ import annotations

from dataclasses import dataclass

from brain_diffusion_jax.errors import require_one_of

MODES = ("tokens", "raw", "scaled", "scalar", "external", "none")


@dataclass(frozen=True)
class ConditioningConfig:
    """mode: "tokens" (learned, with nulls) | "raw" (one token of numbers in their units, categories from 1) |
    "scaled" (one token of numbers as the schema encodes them) | "scalar" (the small UNet of REFERENCE R4) |
    "external" (foreign weights whose context has no schema: only the raw network can be called) | "none".

    width: of the tokens, None: model.context_dim. time_embedding: tokens are also summed into the time embedding.
    raw_null: what stands for an absent number in the modes raw, scaled and scalar, and in planes. planes: the numbers
    as planes beside the image, too, of tokens those of mode scaled; model.in_channels counts them.
    """

    mode: str = "tokens"
    width: int | None = None
    time_embedding: bool = True
    raw_null: float = -1.0
    planes: bool = False

    def __post_init__(self) -> None:
        require_one_of(self.mode, MODES, "config", "conditioning.mode")
