"""Synthetic images as a BIDS 1.10 derivative that says everywhere that no person was scanned.

    OUT/dataset_description.json  README.md  participants.tsv  participants.json  .bidsignore
        sub-000007/anat/sub-000007_desc-synthetic_T1w.nii.gz  sub-000007_desc-synthetic_T1w.json

Every image is a participant of its own. A slice of a known grid is a NIfTI of one slice at its place in the world,
since BIDS knows no pictures of heads; what has no place in a volume has no place in BIDS.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brain_diffusion_jax import files
from brain_diffusion_jax.contract import Contract
from brain_diffusion_jax.covariates import Categorical, Covariate, Schema
from brain_diffusion_jax.data.condition_draw import DrawnRow
from brain_diffusion_jax.data.table import table_text
from brain_diffusion_jax.errors import InputError

DESCRIPTION = "dataset_description.json"
PARTICIPANTS = "participants.tsv"
SUFFIXES = ("T1w", "T2w", "PDw", "T2starw", "FLAIR", "angio")
_SYNTHETIC = "SYNTHETIC: computed by a statistical model; no person was scanned"
_OWN_COLUMNS = ("participant_id", "seed")
_SEXES = {"F": "female", "M": "male"}


@dataclass(frozen=True)
class Contrast:
    """What BIDS asks of an image and no contract knows. suffix: one of SUFFIXES. skull_stripped: as scans should be."""

    suffix: str = "T1w"
    skull_stripped: bool = True

    def __post_init__(self) -> None:
        if self.suffix not in SUFFIXES:
            raise InputError("command line", "--suffix", self.suffix, f"one of {', '.join(SUFFIXES)}")

    def record(self) -> dict[str, Any]:
        """Both, as a folder remembers them."""
        return {"suffix": self.suffix, "skull_stripped": self.skull_stripped}


@dataclass(frozen=True)
class Dataset:
    """A folder in BIDS layout. origin: of the model, an entry of GeneratedBy; settings: of the sampler."""

    folder: Path
    contrast: Contrast
    origin: Mapping[str, Any]
    settings: Mapping[str, Any]

    def image(self, row: int) -> Path:
        """Where the NIfTI of a row lies."""
        return self.folder / image_file(row, self.contrast.suffix)

    def sidecar(self, row: int) -> Path:
        """Where what is known of a row's image lies."""
        path = self.image(row)
        return path.with_name(path.name.replace(".nii.gz", ".json"))

    def write_tables(self, schema: Schema, rows: Sequence[DrawnRow], beside: Sequence[str]) -> None:
        """Everything but the images. rows: all of the data set. beside: files and folders that BIDS does not know."""
        self.folder.mkdir(parents=True, exist_ok=True)
        files.write_text(self.folder / PARTICIPANTS, participants(rows, schema))
        files.write_json(self.folder / "participants.json", columns(schema))
        files.write_text(self.folder / "README.md", _readme(self.contrast))
        files.write_text(self.folder / ".bidsignore", "".join(f"{name}\n" for name in beside))
        description = {
            "Name": "SYNTHETIC brain images, of no person",
            "BIDSVersion": "1.10.0",
            "DatasetType": "derivative",
            "SyntheticData": True,
            "GeneratedBy": [dict(self.origin)],
        }
        files.write_json(self.folder / DESCRIPTION, description)

    def write_sidecar(self, row: DrawnRow, measured: Mapping[str, float] | None = None) -> None:
        """What a row's image is and how it was made. measured: values found on the image itself."""
        known = {
            "Description": _SYNTHETIC,
            "SyntheticData": True,
            "SkullStripped": self.contrast.skull_stripped,
            "Seed": row.seed,
            "Index": row.row,
            "Requested": {name: value for name, value in row.condition.items() if value is not None},
            "Sampler": dict(self.settings),
            "GeneratedBy": [dict(self.origin)],
        }
        files.write_json(self.sidecar(row.row), known | ({"Measured": dict(measured)} if measured else {}))


def image_file(row: int, suffix: str = "T1w") -> str:
    """Where the NIfTI of a row lies in its data set."""
    name = participant(row)
    return f"{name}/anat/{name}_desc-synthetic_{suffix}.nii.gz"


def participant(row: int) -> str:
    """The name of a row."""
    return f"sub-{row:06d}"


def require_place(contract: Contract | None, where: object) -> Contract:
    """The contract of grey volumes, or of grey slices of a known grid; InputError for images with no place in BIDS."""
    expected = "volumes, or slices of a known grid, of one channel: BIDS has NIfTI of one contrast, and no pictures"
    if contract is None:
        raise InputError(where, "contract", "none", expected)
    placed = contract.kind == "volumes" or (contract.kind == "slices" and contract.grid.shape is not None)
    if not placed or contract.channels != 1:
        raise InputError(where, "contract", f"{contract.kind} of {contract.channels} channels", expected)
    if taken := sorted(set(_OWN_COLUMNS) & set(contract.schema.names)):
        raise InputError(where, "covariates", ", ".join(taken), "other names: these are columns of participants.tsv")
    return contract


def participants(rows: Sequence[DrawnRow], schema: Schema) -> str:
    """participants.tsv: id, seed and the requested conditions of every row, n/a where none was requested."""
    lines = [[*_OWN_COLUMNS, *schema.names]]
    for row in rows:
        lines.append([participant(row.row), str(row.seed), *(cell(row.condition.get(name)) for name in schema.names)])
    return table_text(lines, "\t")


def columns(schema: Schema) -> dict[str, Any]:
    """participants.json: what the columns mean, with units."""
    return {
        "participant_id": {"Description": f"one image. {_SYNTHETIC}"},
        "seed": {"Description": "seed of the image's noise"},
        **{c.name: _column(c) for c in schema.covariates},
    }


def _column(covariate: Covariate) -> dict[str, Any]:
    text = f"requested of the model, not measured: {covariate.name}; n/a: not requested"
    if isinstance(covariate, Categorical):
        sexes = set(covariate.values) == set(_SEXES)
        return {"Description": text, "Levels": {v: _SEXES[v] if sexes else v for v in covariate.values}}
    unit = "year" if covariate.unit == "years" else covariate.unit
    return {"Description": f"{text}; training saw {covariate.low:g} to {covariate.high:g}", "Units": unit}


def cell(value: object) -> str:
    """A word as it is; a number with the seven digits that shards keep of it; n/a for what is absent."""
    if value is None:
        return "n/a"
    return f"{value:.7g}" if isinstance(value, float) else str(value)


def _readme(contrast: Contrast) -> str:
    skull = "stripped of their skull" if contrast.skull_stripped else "with their skull on"
    return (
        "# SYNTHETIC DATA: no person was scanned\n\n"
        "Every image here was computed by a statistical model. participants.tsv lists what was requested of the "
        "model, with units in participants.json; nothing in it was measured on a person. Each image is a participant "
        "of its own, and a sidecar beside it holds seed, sampler and weights. dataset_description.json names the "
        "program, its configuration and the checkpoint.\n\n"
        f"The contrast ({contrast.suffix}) and that heads are {skull} is what whoever made the set said of the "
        "training scans, not a measurement. The model may have remembered people whom it learned from: look for "
        "copies before you pass the images on. Not for diagnosis, treatment or any decision about a person.\n"
    )
