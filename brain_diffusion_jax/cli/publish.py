"""Publish a model on the Hugging Face Hub: weights, config, contract, card and a phantom; nothing of people.

  brain-diffusion publish runs/mine hf://owner/name --dry-run
  brain-diffusion publish runs/mine hf://owner/name

Shards, reports, pictures and anything with a person's id are refused. A new repository is private without --public.
Needs the extra `hub` and a token (`hf auth login`, or $HF_TOKEN).
`bdj.load("hf://owner/name")` opens what was published.
"""

from __future__ import annotations

from brain_diffusion_jax.cli.options import WeightOptions
from brain_diffusion_jax.cli.parsing import argument, option


class Options(WeightOptions):
    """What is published, and where it goes."""

    run: str = argument("run folder")
    to: str = argument("hf://owner/name, or a new folder", metavar="hf://OWNER/NAME|FOLDER")
    dry_run: bool = option("list the files; send and write nothing", False)
    public: bool = option("a new repository is open to everybody (default: to its owner alone)", False)
    json: bool = option("print a JSON summary", False)


def run(options: Options) -> int:
    """Send the files, or list them."""
    import json

    from brain_diffusion_jax.api import hub

    found = hub.publish(options.run, options.to, public=options.public, dry_run=options.dry_run, **options.weights)
    print(json.dumps(hub.summary(found)) if options.json else hub.text(found, options.to))
    return 0
