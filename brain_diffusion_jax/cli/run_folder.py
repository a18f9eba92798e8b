"""Writing a converted run so that it is there whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from brain_diffusion_jax import files
from brain_diffusion_jax.contract import Contract


def write_whole_run(
    out: Path, kind: str, params: Any, config: dict[str, Any], contract: Contract | None, model_state: Any = None
) -> None:
    """checkpoints.write_run into a folder beside `out`, renamed when finished. `out` must be new or empty."""
    from brain_diffusion_jax.training.run_folder import checkpoints

    with files.replacing_folder(out) as part:
        checkpoints.write_run(part, kind, params, config, contract, model_state=model_state)
