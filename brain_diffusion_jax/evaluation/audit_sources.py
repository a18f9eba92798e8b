"""The images that an audit compares, and its findings in words."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from tqdm import tqdm

from brain_diffusion_jax.data.shards.reader import MANIFEST, ShardSource, load_manifest
from brain_diffusion_jax.data.sources.picture_file import SUFFIXES, picture_paths, read_grey
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation.audit import Entry, Findings, fine_structure
from brain_diffusion_jax.pixels import to_unit


def read(folder: Path, person: str | None = None) -> tuple[list[Entry], Float[np.ndarray, "n d"]]:
    """Entries and fine structure of every image of a folder of shards, or of image files in a sub-folder a split.

    person: regular expression whose first group is the person in a file's path.
    """
    if not folder.is_dir():
        raise InputError(folder, "folder", "no such folder", "shards, or images in one sub-folder for each split")
    return from_shards(folder) if (folder / MANIFEST).exists() else from_folder(folder, person)


def from_shards(folder: Path) -> tuple[list[Entry], Float[np.ndarray, "n d"]]:
    """Entries and fine structure of every image, one split in memory at a time."""
    entries, details = [], []
    for split, written in load_manifest(folder)["splits"].items():
        if not sum(int(item["records"]) for item in written):
            continue
        source = ShardSource(folder, split)
        for index in tqdm(range(len(source)), desc=split, disable=None):
            record = source[index]
            person, scan = str(record["person"]), str(record["scan"])
            entries.append(Entry(f"{scan} slice {record['slice_index']}", split, person, scan))
            details.append(fine_structure(record["image"]))
    return entries, np.array(details)


def from_folder(folder: Path, pattern: str | None) -> tuple[list[Entry], Float[np.ndarray, "n d"]]:
    """The same for image files (read as grey) in folder/SPLIT/**; a file that cannot be read is refused by name."""
    try:
        finder = re.compile(pattern) if pattern else None
    except re.error as error:
        raise InputError("command line", "--person", pattern, f"a regular expression ({error})") from error
    paths = picture_paths(folder, "*/**/*")
    if not paths:
        missing = "no images in sub-folders"
        raise InputError(folder, "images", missing, f"SPLIT/*{{{','.join(SUFFIXES)}}}, one sub-folder for each split")
    entries, details = [], []
    for path in tqdm(paths, desc="images", disable=None):
        relative = path.relative_to(folder)
        match = finder.search(str(relative)) if finder else None
        if finder and match is None:
            raise InputError(path, "--person", f"no match of {pattern!r}", "a person in every file's path")
        person = match.group(1 if match.re.groups else 0) if match else ""
        entries.append(Entry(str(relative), relative.parts[0], person))
        details.append(fine_structure(to_unit(read_grey(path))))
    return entries, np.array(details)


def summary(findings: Findings, most: int = 20) -> str:
    """The findings in words."""
    counts = ", ".join(
        f"{split}: {n} images" + (f" of {findings.num_people[split]} people" if findings.num_people[split] else "")
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
    across, within = (
        [p for p in findings.pairs if (p["first_split"] == p["second_split"]) is same] for same in (False, True)
    )
    lines.append(f"look-alike images across splits: {len(across)}")
    lines += [_pair(pair) for pair in across[:most]]
    if known:
        lines.append(f"look-alike images of different people within a split: {len(within)}")
        lines += [_pair(pair) for pair in within[:most]]
    return "\n".join(lines)


def _pair(pair: dict[str, Any]) -> str:
    return (
        f"  {pair['likeness']:.3f} {pair['verdict']}: {pair['first_split']}/{pair['first']} and "
        f"{pair['second_split']}/{pair['second']}"
    )
