"""Find people, repeat scans and look-alike images on both sides of a split.

  brain-diffusion audit shards/oasis
  brain-diffusion audit pictures/ --person '(OAS1_\\d+)'

WHAT is a folder of shards, or a folder with one sub-folder of images (PNG, JPEG, TIFF, BMP) for each split.
Exit status 1 when something was found.
"""

from __future__ import annotations

from pathlib import Path

from brain_diffusion_jax.cli.parsing import OptionGroup, argument, option
from brain_diffusion_jax.errors import InputError


class Options(OptionGroup):
    """What is looked at, and what counts as alike."""

    what: Path = argument("folder of shards, or of images in one sub-folder for each split")
    person: str | None = option("regular expression whose first group is the person in a file's path")
    threshold: float | None = option("correlation from which a pair is listed (default 0.85)")
    out: str | None = option("write the findings to this JSON file")
    json: bool = option("print the findings as JSON", False)


def run(options: Options) -> int:
    """Print what was found; 1 where people or images are on both sides."""
    import json

    from brain_diffusion_jax import files
    from brain_diffusion_jax.evaluation import audit, audit_sources

    entries, details = audit_sources.read(options.what, options.person)
    threshold = audit.SAME_PERSON if options.threshold is None else options.threshold
    if not 0 < threshold <= 1:
        raise InputError("command line", "--threshold", threshold, "a correlation above 0 and up to 1")
    findings = audit.audit(entries, details, threshold)
    text = json.dumps(findings.to_json(), indent=1)
    if options.out:
        files.write_text(options.out, text + "\n")
    print(text if options.json else audit_sources.summary(findings))
    return 1 if findings.leaks else 0
