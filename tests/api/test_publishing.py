"""What may be published of a run: nothing that shows or names a person."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import small_shards
import tiny_runs
from PIL import Image

from brain_diffusion_jax.api import conversions, publishing
from brain_diffusion_jax.contract import Contract, Fit, Grid, SliceSet
from brain_diffusion_jax.data.prepare.pipeline import Preparation
from brain_diffusion_jax.errors import InputError


@pytest.fixture
def run(tmp_path):
    return tiny_runs.bare_run(tmp_path / "run", "gan", "data.shards=/home/jane/shards")


def stage(run, tmp_path):
    (tmp_path / "staged").mkdir(exist_ok=True)
    return publishing.stage(run, tmp_path / "staged", "hf://lab/brains")


def test_paths_of_the_machine_stay_here(run, tmp_path):
    contract = json.loads((run / "contract.json").read_text())
    (run / "contract.json").write_text(json.dumps({**contract, "source": "bids: /data/jane/oasis"}))
    (run / "study").mkdir()
    (run / "study" / "study.json").write_text(json.dumps({"rows": [], "notes": ["ages by /data/jane/age"]}))
    assert any("no phantom example" in note for note in stage(run, tmp_path))
    staged = {p.name: p.read_bytes() for p in (tmp_path / "staged").iterdir()}
    assert sorted(staged) == ["README.md", "config.json", "contract.json", "model.safetensors"]
    assert not [name for name, data in staged.items() if b"jane" in data]
    assert b"ages by age" in staged["README.md"]
    assert json.loads(staged["config.json"])["data"]["shards"] == "shards"
    assert json.loads(staged["contract.json"])["source"] == "bids: oasis"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("/a/b c/d", "d"),
        ("~/x/y/", "y"),
        ("C:\\Users\\jane\\s", "s"),
        ("table of /data/jane/o, 3 people", "table of o, 3 people"),
        ("mm / s", "mm / s"),
        ("configs/oasis", "configs/oasis"),
        ("brain / head", "brain / head"),
    ],
)
def test_a_path_is_cut_to_its_last_name(text, left):
    assert conversions.without_paths({"a": [text, 1]}) == {"a": [left, 1]}


@pytest.mark.parametrize("name", ["shards.json", "study.json", "report.html", "manifest.csv", "participants.tsv"])
def test_folders_of_people_are_refused(tmp_path, name):
    (tmp_path / name).write_text("{}")
    with pytest.raises(InputError, match=r"RUN: found .*only weights are published"):
        publishing.stage(tmp_path, tmp_path / "staged", "hf://lab/brains")


def test_ids_of_people_are_refused_wherever_they_stand(run, tmp_path):
    contract = json.loads((run / "contract.json").read_text())
    (run / "contract.json").write_text(json.dumps({**contract, "source": "follow-up of sub-0042"}))
    with pytest.raises(InputError, match=r"contract.json: source: found 'sub-0042'"):
        stage(run, tmp_path)
    assert not list((tmp_path / "staged").iterdir())
    # What is an id is known from the run's own shards.
    shards = small_shards.write_blobs(tmp_path / "shards")
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps({**config, "data": {**config["data"], "shards": str(shards)}}))
    (run / "contract.json").write_text(json.dumps({**contract, "source": "all but p03"}))
    with pytest.raises(InputError, match="'p03'"):
        stage(run, tmp_path)
    (run / "contract.json").write_text(json.dumps({**contract, "source": "all but xp03"}))
    stage(run, tmp_path)
    (run / "study").mkdir()
    (run / "study" / "study.json").write_text(json.dumps({"rows": [], "notes": ["p05 moved"]}))
    with pytest.raises(InputError, match=r"study/study.json: notes: found 'p05'"):
        stage(run, tmp_path)


def test_the_example_is_a_phantom_prepared_as_the_contract_says(tmp_path):
    preparation = Preparation(spacing_mm=(4.0, 4.0, 4.0), axis="axial", slices={"rule": "list_index", "values": (18,)})
    grid = preparation.fixed_grid()
    contract = replace(
        tiny_runs.contract(small_shards.SCHEMA),
        spacing_mm=preparation.spacing_mm,
        grid=Grid("mni", tuple(grid.shape), tuple(map(tuple, grid.affine.tolist()))),
        slices=SliceSet("axial", "index", preparation.slicing.to_json(), indices=(18,)),
        fit=Fit("none"),
    )
    assert isinstance(contract, Contract)
    assert publishing.write_example(contract, tmp_path / "example.png") == ""
    with Image.open(tmp_path / "example.png") as image:
        assert image.size[0] > 40
        assert 10 < sum(image.convert("L").getdata()) / (image.size[0] * image.size[1]) < 200
