"""Find people, repeat scans and look-alike pictures on both sides of a split.

  brain-diffusion audit shards/oasis
  brain-diffusion audit pictures/ --person '(OAS1_\\d+)'

WHAT is a folder of shards, or a folder with one sub-folder of pictures (PNG, JPEG, TIFF, BMP) for each split.
Exit status 1 when something was found.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", help="folder of shards, or of pictures in one sub-folder for each split")
    parser.add_argument("--person", help="regular expression whose first group is the person in a file's path")
    parser.add_argument("--threshold", type=float, help="likeness from which a pair is listed (default 0.85)")
    parser.add_argument("--out", help="write the findings to this JSON file")
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")


def run(arguments: argparse.Namespace) -> int:
    import json

    from brain_diffusion_jax import files
    from brain_diffusion_jax.data.shards.reader import MANIFEST
    from brain_diffusion_jax.errors import InputError
    from brain_diffusion_jax.evaluation import audit

    folder = Path(arguments.what)
    if not folder.is_dir():
        raise InputError(folder, "folder", "no such folder", "shards, or pictures in one sub-folder for each split")
    entries, details = from_shards(folder) if (folder / MANIFEST).exists() else from_folder(folder, arguments.person)
    threshold = audit.SAME_PERSON if arguments.threshold is None else arguments.threshold
    if not 0 < threshold <= 1:
        raise InputError("command line", "--threshold", threshold, "a correlation above 0 and up to 1")
    findings = audit.audit(entries, details, threshold)
    text = json.dumps(findings.to_json(), indent=1)
    if arguments.out:
        files.write_text(arguments.out, text + "\n")
    print(text if arguments.json else summary(findings))
    return 1 if findings.leaks else 0


def from_shards(folder: Path) -> tuple[list[Any], Any]:
    """Entries and fine structure of every picture, one split in memory at a time."""
    import numpy as np
    from tqdm import tqdm

    from brain_diffusion_jax.data.shards.reader import ShardSource, load_manifest
    from brain_diffusion_jax.evaluation.audit import Entry, fine_structure

    entries, details = [], []
    for split, files in load_manifest(folder)["splits"].items():
        if not sum(int(item["records"]) for item in files):
            continue
        source = ShardSource(folder, split)
        for index in tqdm(range(len(source)), desc=split, disable=None):
            record = source[index]
            person, scan = str(record["person"]), str(record["scan"])
            entries.append(Entry(f"{scan} slice {record['slice_index']}", split, person, scan))
            details.append(fine_structure(record["image"][..., 0]))
    return entries, np.array(details)


def from_folder(folder: Path, pattern: str | None) -> tuple[list[Any], Any]:
    """The same for pictures in folder/SPLIT/**; a file that cannot be read is refused by name."""
    import re

    import numpy as np
    from tqdm import tqdm

    from brain_diffusion_jax.data.sources.picture_file import SUFFIXES, picture_paths, read_grey
    from brain_diffusion_jax.errors import InputError
    from brain_diffusion_jax.evaluation.audit import Entry, fine_structure
    from brain_diffusion_jax.pixels import to_unit

    try:
        finder = re.compile(pattern) if pattern else None
    except re.error as error:
        raise InputError("command line", "--person", pattern, f"a regular expression ({error})") from error
    paths = picture_paths(folder, "*/**/*")
    if not paths:
        found = "no pictures in sub-folders"
        raise InputError(folder, "pictures", found, f"SPLIT/*{{{','.join(SUFFIXES)}}}, one sub-folder for each split")
    entries, details = [], []
    for path in tqdm(paths, desc="pictures", disable=None):
        relative = path.relative_to(folder)
        match = finder.search(str(relative)) if finder else None
        if finder and match is None:
            raise InputError(path, "--person", f"no match of {pattern!r}", "a person in every file's path")
        person = match.group(1 if match.re.groups else 0) if match else ""
        entries.append(Entry(str(relative), relative.parts[0], person))
        details.append(fine_structure(to_unit(read_grey(path))))
    return entries, np.array(details)


def summary(findings: Any, most: int = 20) -> str:
    """The findings in words."""
    counts = ", ".join(
        f"{split}: {n} pictures" + (f" of {findings.num_people[split]} people" if findings.num_people[split] else "")
        for split, n in findings.num_pictures.items()
    )
    lines = [counts]
    known = any(findings.num_people.values())
    if known:
        lines.append(f"people in more than one split: {len(findings.people)}")
        lines += [f"  {person}: {', '.join(splits)}" for person, splits in list(findings.people.items())[:most]]
        lines.append(f"people scanned more than once: {len(findings.repeats)}")
    else:
        lines.append("people: not known (use --person with a regular expression)")
    across = [p for p in findings.pairs if p["first_split"] != p["second_split"]]
    within = [p for p in findings.pairs if p["first_split"] == p["second_split"]]
    lines.append(f"look-alike pictures across splits: {len(across)}")
    lines += [_pair(pair) for pair in across[:most]]
    if known:
        lines.append(f"look-alike pictures of different people within a split: {len(within)}")
        lines += [_pair(pair) for pair in within[:most]]
    return "\n".join(lines)


def _pair(pair: dict[str, Any]) -> str:
    return (
        f"  {pair['likeness']:.3f} {pair['verdict']}: {pair['first_split']}/{pair['first']} and "
        f"{pair['second_split']}/{pair['second']}"
    )
