"""Files of JSON with a byte changed, lost or put in, and values of other types: a line for the user, no traceback."""

from __future__ import annotations

import json
import random
import warnings

import numpy as np
import pytest

from brain_diffusion_jax import config as configs
from brain_diffusion_jax.api import scan_ages
from brain_diffusion_jax.cli.main import main
from brain_diffusion_jax.contract import Contract, Fit, Grid, Intensity, SliceSet, Split
from brain_diffusion_jax.covariates import Categorical, Continuous, Schema
from brain_diffusion_jax.data.prepare.contract_preparation import preparation_of
from brain_diffusion_jax.data.sample_folder import SampleFolder, slice_index, slice_nifti
from brain_diffusion_jax.data.shards.reader import ShardSource
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation.report.report import comparison_section, method_text
from brain_diffusion_jax.evaluation.study import sample_store
from brain_diffusion_jax.evaluation.study.study_result import Row, StudyResult
from brain_diffusion_jax.training.run_folder import metrics, step_folders

MUTATIONS = 300
VALUES = (None, True, -1, 0, 1e308, "", "word", [], {}, [None], [[1]], {"a": 1}, 10**30, "\u0000", ["a", "b"])

CONTRACT = Contract(
    schema=Schema((Continuous("age", "years", 18, 88), Categorical("sex", ("F", "M")), Continuous("slice", "", 0, 90))),
    image_size=(109, 91),
    spacing_mm=(2.0, 2.0, 2.0),
    grid=Grid("mni", (91, 109, 91), ((2, 0, 0, -90), (0, 2, 0, -126), (0, 0, 2, -72), (0, 0, 0, 1))),
    slices=SliceSet("axial", indices=(40, 41), rule={"rule": "list_index", "values": [40, 41]}),
    fit=Fit("none", (109, 91)),
    intensity=Intensity("fixed", 0.0, 2.5, "uint8"),
    split=Split("person", 0),
)
STUDY = StudyResult(
    title="t",
    method={
        "contract": CONTRACT.to_json(),
        "extractors": {"e": "1"},
        "sampling": {"sampler": "ddim"},
        "num_pictures": 3,
    },
    rows=[
        Row("real", None, 3, 3, {"age mae": {"value": 3.0, "low": 2.0, "high": 4.0}}, {"predicted age": [1.0, None]}),
        Row("w=1", 1.0, 3, 3, {"FD[e]": {"value": 3.0, "low": None, "high": None}}),
    ],
)


def _read_contract(folder):
    contract = Contract.load(folder)
    preparation_of(contract, folder)
    place = slice_index(contract, {"slice": 40})
    if place is not None:
        slice_nifti(np.zeros(contract.image_size, np.float32), contract, place)


def _read_study(folder):
    result = StudyResult.load(folder)
    comparison_section({"a": result, "b": STUDY})
    method_text(result)


def _config():
    config = configs.to_json(configs.base_config())
    return {"kind": "diffusion", **{k: config[k] for k in ("model", "train", "covariates", "conditioning", "study")}}


def _info(folder):
    if main(["info", str(folder)]) == 2:
        raise InputError(folder, "info", "refused", "an exit status")
    configs.load_config(folder)


AGE_REPORT = {"step": 3, "test": {"people": 4, "correction": {"slope": 0.5, "intercept": 1, "fitted_on": "others"}}}
SHARDS = {"splits": {"train": [{"file": "a", "bytes": 4, "records": 1}]}, "fingerprint": "x"}
PLAN = {"scales": [1.0, 2.0], "seed": 0}
ROWS = "".join(json.dumps({"step": s, "time": 1.5, "loss": 0.5, "validation_loss": None}) + "\n" for s in range(5))

# name: (file, its text, what reads it)
CASES = {
    "contract": ("contract.json", json.dumps(CONTRACT.to_json()), _read_contract),
    "study": ("study.json", json.dumps(STUDY.to_json()), _read_study),
    "config": ("config.json", json.dumps(_config()), _info),
    "shards": ("shards.json", json.dumps(SHARDS), lambda folder: ShardSource(folder, "train")),
    "plan": ("plan.json", json.dumps(PLAN), lambda folder: sample_store.claim(folder, PLAN)),
    "sampling": ("sampling.json", json.dumps(PLAN), lambda folder: SampleFolder(folder, PLAN, None, resume=True)),
    "metrics": (metrics.JSONL, ROWS, metrics.read_jsonl),
    "age report": ("age_report.json", json.dumps(AGE_REPORT), scan_ages.bias_correction),
    "checksums": (step_folders.CHECKSUMS, json.dumps({"a": [4, 1]}), step_folders.damage),
}


def _places(value, place=()):
    yield place
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from _places(inner, (*place, key))


def _mutated(text: str, rng: random.Random) -> bytes:
    """One byte changed, put in or cut off at; or, in half the cases, one value of another type or none."""
    data = text.encode()
    where = rng.randrange(len(data))
    ways = [
        lambda: data[:where] + bytes([rng.randrange(256)]) + data[where + 1 :],
        lambda: data[:where] + bytes([rng.randrange(256)]) + data[where:],
        lambda: data[:where],
    ]
    if rng.random() < 0.5 or "\n" in text:
        return rng.choice(ways)()
    items = json.loads(text)
    *outer, last = rng.choice([p for p in _places(items) if p])
    node = items
    for key in outer:
        node = node[key]
    if rng.random() < 0.2:
        del node[last]
    else:
        node[last] = rng.choice(VALUES)
    return json.dumps(items).encode()


@pytest.mark.parametrize("name", CASES)
def test_damage_is_a_line_for_the_user(name, tmp_path, caplog, capsys):
    file, text, read = CASES[name]
    rng = random.Random(name)
    (tmp_path / "a").write_bytes(b"data")
    (tmp_path / "contract.json").write_text(CASES["contract"][1], encoding="utf-8")
    (tmp_path / "config.json").write_text(CASES["config"][1], encoding="utf-8")
    (tmp_path / file).write_text(text, encoding="utf-8")
    read(tmp_path)
    refused = 0
    for _ in range(MUTATIONS):
        data = _mutated(text, rng)
        (tmp_path / file).write_bytes(data)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                read(tmp_path)
        except InputError:
            refused += 1
        except Exception as error:
            pytest.fail(f"{type(error).__name__}: {error} for {data!r}")
    assert refused or name in ("metrics", "checksums")
    if name == "metrics":
        assert "left out" in caplog.text
