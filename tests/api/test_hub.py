"""Publishing to a hub and a folder, and opening what was published from there alone."""

from __future__ import annotations

import json
import shutil
import sys

import numpy as np
import pytest
import tiny_runs
from fake_hub import FakeHub

from brain_diffusion_jax import api
from brain_diffusion_jax.api import hub
from brain_diffusion_jax.cli.main import main
from brain_diffusion_jax.conversion.safetensors_file import PUBLISHED
from brain_diffusion_jax.errors import InputError

CONDITION = [{"age": 50, "sex": "F", "slice": 3}]
NAMES = ["README.md", "config.json", "contract.json", PUBLISHED]


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Caches of the test's own."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def server(home, monkeypatch):
    constants = pytest.importorskip("huggingface_hub.constants", reason="extra `hub`")
    made = FakeHub()
    monkeypatch.setenv("HF_ENDPOINT", made.url)
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    yield made
    made.shutdown()
    made.server_close()


@pytest.mark.hub
def test_a_latent_model_opens_from_the_hub_alone(server, tmp_path, capsys):
    run = tiny_runs.latent_run(tmp_path / "run")
    expected = api.load(run).sample(CONDITION, num_steps=1, seed=3)
    assert main(["publish", str(run), "hf://lab/brains"]) == 0
    assert "published: hf://lab/brains" in capsys.readouterr().out
    assert sorted(server.files["lab/brains"]) == NAMES
    assert server.private["lab/brains"] is True
    assert set(server.authorisation) == {"Bearer hf_test"}
    card = server.files["lab/brains"]["README.md"].decode()
    assert 'bdj.load("hf://lab/brains")' in card
    assert str(tmp_path) not in "".join(d.decode("latin-1") for d in server.files["lab/brains"].values())
    for folder in tmp_path.glob("run*"):
        shutil.rmtree(folder)
    model = api.load("hf://lab/brains", "diffusion")
    np.testing.assert_array_equal(model.sample(CONDITION, num_steps=1, seed=3), expected)
    with pytest.raises(InputError, match=r"hf://lab/none: hub: found .*token"):
        api.load("hf://lab/none")


def test_a_published_folder_and_its_file_open(home, tmp_path, capsys):
    run = tiny_runs.bare_run(tmp_path / "run", "gan")
    assert main(["publish", str(run), str(tmp_path / "out"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert sorted(told["files"]) == sorted(p.name for p in (tmp_path / "out").iterdir()) == NAMES
    assert told["files"][PUBLISHED] == (tmp_path / "out" / PUBLISHED).stat().st_size
    opened = {hub.run_folder(place) for place in (tmp_path / "out", tmp_path / "out" / PUBLISHED)}
    for folder in opened:
        assert json.loads((folder / "config.json").read_text())["kind"] == "gan"
        assert home in folder.parents
    assert hub.run_folder(run) == run
    assert main(["publish", str(run), str(tmp_path / "out")]) == 2  # not into a folder that is taken


def test_a_dry_run_lists_and_needs_no_hub(home, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    run = tiny_runs.bare_run(tmp_path / "run", "gan")
    before = sorted(tmp_path.rglob("*"))
    assert main(["publish", str(run), "hf://lab/brains", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in NAMES)
    assert "nothing was sent" in out
    assert main(["publish", str(run), "hf://lab/brains"]) == 2
    assert 'pip install "brain-diffusion-jax[hub]"' in capsys.readouterr().err
    with pytest.raises(InputError, match="extra `hub`"):
        api.load("hf://lab/brains")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("address", ["hf://lab", "hf://lab/a/b", "hf://lab/a b"])
def test_a_broken_address_is_named(address):
    with pytest.raises(InputError, match="expected hf://owner/name"):
        hub.run_folder(address)
