"""Find people, repeat scans and look-alike pictures on both sides of a split.

  brain-diffusion audit shards/oasis
  brain-diffusion audit pictures/ --person '(OAS1_\\d+)'

WHAT is a folder of shards, or a folder with one sub-folder of pictures (PNG, JPEG, TIFF, BMP) for each split.
Exit status 1 when something was found.
"""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", help="folder of shards, or of pictures in one sub-folder for each split")
    parser.add_argument("--person", help="regular expression whose first group is the person in a file's path")
    parser.add_argument("--threshold", type=float, help="likeness from which a pair is listed (default 0.85)")
    parser.add_argument("--out", help="write the findings to this JSON file")
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")


def run(arguments: argparse.Namespace) -> int:
    import json

    from brain_diffusion_jax import files
    from brain_diffusion_jax.errors import InputError
    from brain_diffusion_jax.evaluation import audit, audit_sources

    entries, details = audit_sources.read(Path(arguments.what), arguments.person)
    threshold = audit.SAME_PERSON if arguments.threshold is None else arguments.threshold
    if not 0 < threshold <= 1:
        raise InputError("command line", "--threshold", threshold, "a correlation above 0 and up to 1")
    findings = audit.audit(entries, details, threshold)
    text = json.dumps(findings.to_json(), indent=1)
    if arguments.out:
        files.write_text(arguments.out, text + "\n")
    print(text if arguments.json else audit_sources.summary(findings))
    return 1 if findings.leaks else 0
