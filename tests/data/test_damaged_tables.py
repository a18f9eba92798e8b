"""300 mutations of each table that users hand in: read, or refused by file and place; never a traceback."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from brain_diffusion_jax.cli.options import ConditionOptions
from brain_diffusion_jax.covariates import Schema
from brain_diffusion_jax.data.sample_folder import SampleFolder, read_pictures
from brain_diffusion_jax.data.sources.cohort import CohortSpec, read_cohort
from brain_diffusion_jax.errors import InputError

SCHEMA = Schema.from_json(
    [{"name": "age", "unit": "years", "low": 18, "high": 96}, {"name": "sex", "values": ("F", "M")}]
)
PIECES = [b'"', b"\n", b"\r", b",", b";", b"\t", b"\0", b"\xff", b"\xe9", b"\xef\xbb\xbf", "\u2028".encode(), b"\x0c"]
PIECES += [b"../", b"*", b"[", b"{}", b"'=", b"sep=;\n", b"1e999", b"nan", b"x" * 300, b'"\n"', b"\xf0\x9f\xa7\xa0"]


def mutate(data: bytes, random: np.random.Generator) -> bytes:
    """Up to three of: a bit turned, a span cut out, doubled or moved, a piece put in, the end torn off."""
    for _ in range(random.integers(1, 4)):
        first, last = sorted(random.integers(0, len(data) + 1, 2).tolist())
        span = data[first:last]
        kind = random.integers(6)
        if kind == 0 and first < len(data):
            data = data[:first] + bytes([data[first] ^ 1 << int(random.integers(8))]) + data[first + 1 :]
        elif kind == 1:
            data = data[:first] + data[last:]
        elif kind == 2:
            data = data[:last] + span + data[last:]
        elif kind == 3:
            data = data[:first] + data[last:] + span
        elif kind == 4:
            data = data[:first] + PIECES[random.integers(len(PIECES))] + data[first:]
        else:
            data = data[:last]
    return data


def participants(folder: Path) -> tuple[Path, Callable[[], object]]:
    lines = ["participant_id\tage\tsex\tnote", *(f"sub-{i}\t{20 + i}\t{'FM'[i % 2]}\tn{i}" for i in range(5))]
    for i in range(5):
        path = folder / f"sub-{i}" / f"ses-{i % 2}" / "anat" / f"sub-{i}_ses-{i % 2}_T1w.nii.gz"
        path.parent.mkdir(parents=True)
        path.touch()
    (folder / "participants.tsv").write_text("\n".join(lines) + "\n")
    return folder / "participants.tsv", lambda: read_cohort(CohortSpec(root=str(folder)))


def sessions(folder: Path) -> tuple[Path, Callable[[], object]]:
    _, read = participants(folder)
    (folder / "sub-1" / "sub-1_sessions.tsv").write_text("session_id\tage\nses-1\t21.5\nses-2\t31.5\n")
    return folder / "sub-1" / "sub-1_sessions.tsv", read


def side_car(folder: Path) -> tuple[Path, Callable[[], object]]:
    _, read = participants(folder)
    (folder / "participants.json").write_text('{"age": {"Units": "years"}, "sex": {"Levels": {"F": "female"}}}')
    return folder / "participants.json", read


def people_with_files(folder: Path) -> tuple[Path, Callable[[], object]]:
    folder.mkdir()
    lines = ["id;age;sex;file", *(f'"p{i}";{20 + i};{"FM"[i % 2]};p{i}.nii' for i in range(5))]
    for i in range(5):
        (folder / f"p{i}.nii").touch()
    (folder / "people.csv").write_text("\n".join(lines) + "\n")
    spec = CohortSpec(layout="table", root=str(folder), columns={"person": "id", "file": "file"}, bad_ages="absent")
    return folder / "people.csv", lambda: read_cohort(spec)


def conditions(folder: Path) -> tuple[Path, Callable[[], object]]:
    folder.mkdir()
    (folder / "wanted.csv").write_text('age,sex\n20,F\n30.5,"m"\n,female\n70,\n')
    options = ConditionOptions(conditions=folder / "wanted.csv")
    return folder / "wanted.csv", lambda: options.read(SCHEMA)


def manifest(folder: Path) -> tuple[Path, Callable[[], object]]:
    wanted = [{"age": 20.0 + i, "sex": "FM"[i % 2]} for i in range(4)]
    made = SampleFolder(folder, {}, None)
    made.write(0, np.zeros((4, 3, 3, 1), np.float32), wanted, seed=1, guidance_scale=2.0, columns=["age", "sex"])
    return folder / "manifest.csv", lambda: read_pictures(folder)


@pytest.mark.parametrize("make", [participants, sessions, side_car, people_with_files, conditions, manifest])
def test_no_mutation_ends_in_a_traceback(tmp_path, make):
    path, read = make(tmp_path / "data")
    whole = path.read_bytes()
    read()
    random = np.random.default_rng(7)
    refused = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(300):
            path.write_bytes(mutate(whole, random))
            with contextlib.suppress(InputError):
                read()
                refused -= 1
            refused += 1
    assert refused > 30
