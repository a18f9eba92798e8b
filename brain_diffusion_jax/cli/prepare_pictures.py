"""The part of `prepare` for pictures without geometry (config section `pictures`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def prepare(config: Any, out: Path, *, as_json: bool) -> int:
    """Pictures of config.pictures.root to shards in `out`; prints a summary and what was found on the way."""
    import json
    import sys

    from tqdm import tqdm

    from brain_diffusion_jax.covariates import Schema
    from brain_diffusion_jax.data.shards import picture_shards
    from brain_diffusion_jax.data.shards.splits import SplitSpec

    sections = config.to_dict()
    spec = picture_shards.PicturesSpec.from_config(sections["pictures"])
    with tqdm(unit="picture", disable=True if as_json else None, file=sys.stderr) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        contract, remarks = picture_shards.write_picture_shards(
            out, spec, SplitSpec(**sections["split"]), Schema.from_json(sections["covariates"]), progress=progress
        )
    if as_json:
        summary = {"out": str(out), "fingerprint": contract.fingerprint, **contract.counts, "remarks": remarks}
        print(json.dumps(summary))
        return 0
    picture_shards.warn(remarks)
    from brain_diffusion_jax.cli.prepare import summary as table

    print(table(contract.to_json(), out))
    return 0
