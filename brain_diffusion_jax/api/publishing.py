"""What of a run may be given to everybody: weights, config, contract, model card and a phantom, and nothing of people.

    FOLDER/model.safetensors  config.json  contract.json  README.md  phantom_example.png

A latent model carries its autoencoder among its weights. Paths are cut to their last name.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from brain_diffusion_jax import files
from brain_diffusion_jax.api import conversions
from brain_diffusion_jax.contract import FILE_NAME, Contract
from brain_diffusion_jax.conversion import safetensors_file
from brain_diffusion_jax.conversion.safetensors_file import PUBLISHED
from brain_diffusion_jax.data import picture_grid
from brain_diffusion_jax.data.phantoms import phantom
from brain_diffusion_jax.data.prepare import pipeline
from brain_diffusion_jax.data.prepare.contract_preparation import preparation_of
from brain_diffusion_jax.data.sample_folder import MANIFEST as PICTURES
from brain_diffusion_jax.data.sample_folder import volume_picture
from brain_diffusion_jax.data.shards import reader
from brain_diffusion_jax.data.table import read_table
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.pixels import to_uint8, to_unit
from brain_diffusion_jax.training.run_folder import checkpoints

CARD, EXAMPLE = "README.md", "phantom_example.png"
FILES = (PUBLISHED, checkpoints.CONFIG, FILE_NAME, CARD, EXAMPLE)
# What lies in a folder that shows people or names them, and what it is.
_OF_PEOPLE = {
    reader.MANIFEST: "shards: images of people, with their ids",
    "study.json": "a report, whose pictures may show people",
    "report.html": "a report, whose pictures may show people",
    PICTURES: "a folder of images",
    "participants.tsv": "a table of people",
}
_BIDS_PERSON = re.compile(r"\bsub-[A-Za-z0-9]+")


def stage(run: Path, folder: Path, address: str, *, step: int | None = None, ema: bool = True) -> list[str]:
    """Write what may be published of `run` into `folder`; returns what is to be said of it.

    address: what the model card loads. Raises InputError for what is no run, and where a person's id stands in what
    would be published: those of the run's shards, where these are here, and BIDS names.
    """
    _require_run(run)
    config = checkpoints.read_config(run)
    _require_nobody(run, config)
    conversions.publish(run, folder / PUBLISHED, step=step, ema=ema, card=folder / CARD, example=address, paths=False)
    found = safetensors_file.read(folder / PUBLISHED)
    files.write_json(folder / checkpoints.CONFIG, {"kind": found.kind, **found.config})
    if found.contract is None:
        return ["no data contract: nobody can check what images the model takes; no phantom example"]
    found.contract.save(folder)
    problem = write_example(found.contract, folder / EXAMPLE)
    return [f"no phantom example: {problem}"] if problem else []


def write_example(contract: Contract, path: Path) -> str:
    """A made-up brain as the contract prepares scans, as PNG; returns why there is none, "" where there is."""
    try:
        preparation = preparation_of(contract, kind="volumes" if contract.kind == "volumes" else "slices")
        with tempfile.TemporaryDirectory() as work:
            phantom.write_cohort(Path(work) / "phantom", 1, 0)
            (scan,) = (Path(work) / "phantom").rglob("*.nii.gz")
            if contract.kind == "volumes":
                stored = pipeline.prepare_whole(scan, preparation).data[..., None]
                shown = volume_picture(to_uint8(to_unit(stored)), contract)
            else:
                pictures = pipeline.prepare_volume(scan, preparation).pictures
                shown = picture_grid.tile(to_unit(pictures[:: max(1, len(pictures) // 16)]), 8)
    except InputError as error:
        return str(error)
    picture_grid.save_png(path, shown)
    return ""


def _require_run(run: Path) -> None:
    for name, what in _OF_PEOPLE.items():
        if (run / name).is_file():
            raise InputError(run, "RUN", what, "the run folder of a model: only weights are published")
    checkpoints.read_config(run)


def _require_nobody(run: Path, config: Mapping[str, Any]) -> None:
    """Raise InputError for a person's id in the words of config, contract and study, or in the run's name."""
    told: dict[str, Any] = {checkpoints.CONFIG: config, "name of the run": run.name}
    for name in (FILE_NAME, "study/study.json"):
        if (run / name).is_file():
            told[name] = files.read_json(run / name, "part of a run")
    people = _people(config)
    for name, items in told.items():
        for place, words in _words(conversions.without_paths(items), name):
            named = _BIDS_PERSON.search(words)
            who = named[0] if named else next((p for p in people if _names(words, p)), None)
            if who is not None:
                expected = "no person's id in what is published: change or remove it"
                raise InputError(run, place, f"{who!r} in {words[:80]!r}", expected)


def _people(config: Mapping[str, Any]) -> set[str]:
    """Ids of the people in the run's shards, where these are here; numbers below 10000 are also other things."""
    shards = Path(str(dict(config.get("data") or {}).get("shards") or ""))
    table = shards / "scans.csv"
    if not shards.name or not table.is_file():
        return set()
    rows = read_table(table, "table of scans", "a table written by `prepare`")[1]
    ids = {row.get(column) for row in rows for column in ("person", "scan")}
    return {i for i in ids if len(i) > 2 and not (i.isdecimal() and int(i) < 10_000)}


def _names(words: str, person: str) -> bool:
    return person in words and re.search(rf"(?<!\w){re.escape(person)}(?!\w)", words) is not None


def _words(items: Any, place: str) -> Iterator[tuple[str, str]]:
    """(place, words) of every text in JSON values."""
    if isinstance(items, str):
        yield place, items
    elif isinstance(items, Mapping):
        for key, value in items.items():
            yield place, str(key)
            yield from _words(value, f"{place}: {key}")
    elif isinstance(items, list | tuple):
        for value in items:
            yield from _words(value, place)
