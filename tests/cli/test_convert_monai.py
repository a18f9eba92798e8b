"""`convert monai` and `convert safetensors` from the command line to bdj.load and back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flax import traverse_util

from brain_diffusion_jax.cli.main import main
from brain_diffusion_jax.conversion import monai, torch_files
from brain_diffusion_jax.models import factory

CONFIG = """
from brain_diffusion_jax.config import base_config

def get_config():
    c = base_config()
    c.name = "tiny_reference"
    c.model.channels, c.model.num_res_blocks = (4,), (1,)
    c.model.attention_levels, c.model.num_head_channels = (True,), (4,)
    c.model.norm_num_groups, c.model.context_dim = 2, 3
    c.conditioning.mode, c.conditioning.time_embedding = "raw", False
    c.diffusion.schedule, c.diffusion.prediction, c.diffusion.data_range = "linear", "eps", (0.0, 1.0)
    return c
"""


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    (tmp_path / "tiny.py").write_text(CONFIG)
    from brain_diffusion_jax.config import load_config

    model = dict(load_config(tmp_path / "tiny.py").model)
    rng = np.random.default_rng(0)
    shapes = monai.expected_shapes(factory.unet(model))
    params = traverse_util.unflatten_dict(
        {p: 0.3 * rng.standard_normal(s).astype(np.float32) for p, s in shapes.items()}
    )
    return torch_files.write_state(tmp_path / "unet.safetensors", monai.to_monai(params, model))


def test_import_load_export_publish(tmp_path: Path, weights: Path, capsys: Any) -> None:
    import brain_diffusion_jax as bdj
    from brain_diffusion_jax.config import load_config, to_json

    run, config = tmp_path / "run", tmp_path / "tiny.py"
    assert main(["convert", "monai", str(weights), "--out", str(run), "--config", str(config)]) == 0
    model = bdj.load(run)
    assert model.kind == "diffusion"
    rng = np.random.default_rng(1)
    x = rng.standard_normal((1, 4, 5, 1)).astype(np.float32)
    y = np.asarray(model.network(x, [7.0], [[[70.0, 2.0, 44.0]]]))
    assert y.shape == x.shape
    assert y.std() > 1e-3
    # The condition means what the config says: the schema's values become the same raw token.
    values, present = model.schema.encode([{"age": 70, "sex": "M", "slice": 44}])
    told = model.module.apply({"params": model.params}, x, np.array([7.0], np.float32), values, present)
    np.testing.assert_allclose(told, y, rtol=1e-4, atol=1e-5)

    assert main(["convert", "monai", str(run), "--to", str(tmp_path / "back.safetensors")]) == 0
    assert "DiffusionModelUNet(" in capsys.readouterr().out
    before, after = (torch_files.read_weights(p)[0] for p in (weights, tmp_path / "back.safetensors"))
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[n], after[n]) for n in before)

    published, again = tmp_path / "published.safetensors", tmp_path / "again"
    assert main(["convert", "safetensors", str(run), "--out", str(published)]) == 0
    assert "# tiny_reference" in published.with_suffix(".md").read_text()
    assert main(["convert", "safetensors", str(published), "--out", str(again)]) == 0
    assert to_json(load_config(again)) == to_json(load_config(run))
    reopened = bdj.load(again)
    np.testing.assert_array_equal(reopened.network(x, [7.0], [[[70.0, 2.0, 44.0]]]), y)


def test_without_a_config_it_asks_then_gives_the_raw_network(tmp_path: Path, weights: Path, capsys: Any) -> None:
    import brain_diffusion_jax as bdj

    run = tmp_path / "run"
    assert main(["convert", "monai", str(weights), "--out", str(run)]) == 2
    assert "--head-channels" in capsys.readouterr().err
    assert not run.exists()
    command = ["convert", "monai", str(weights), "--out", str(run), "--head-channels", "4", "--norm-groups", "2"]
    assert main([*command, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["model"]["channels"] == [4]
    assert len(printed["assumed"]) == 3
    model = bdj.load(run)
    assert np.asarray(model.network(np.zeros((1, 4, 4, 1)), [1.0], np.zeros((1, 2, 3)))).shape == (1, 4, 4, 1)
    assert main(command) == 2  # the folder holds a run now
    assert "already there" in capsys.readouterr().err


def test_a_config_of_another_network_and_a_broken_file_write_nothing(
    tmp_path: Path, weights: Path, capsys: Any
) -> None:
    run, config = tmp_path / "run", tmp_path / "other.py"
    config.write_text(
        CONFIG.replace("norm_num_groups, c.model.context_dim = 2, 3", "context_dim, c.model.norm_num_groups = 5, 2")
    )
    assert main(["convert", "monai", str(weights), "--out", str(run), "--config", str(config)]) == 2
    assert "context_dim 3 against 5" in capsys.readouterr().err
    weights.write_bytes(weights.read_bytes()[:200])
    assert main(["convert", "monai", str(weights), "--out", str(run), "--config", str(tmp_path / "tiny.py")]) == 2
    assert {p.name for p in tmp_path.iterdir()} == {"tiny.py", "other.py", "unet.safetensors"}


@pytest.mark.parity
def test_verify_writes_only_what_agrees(tmp_path: Path, weights: Path, capsys: Any, monkeypatch: Any) -> None:
    run = tmp_path / "run"
    command = [
        "convert",
        "monai",
        str(weights),
        "--out",
        str(run),
        "--head-channels",
        "4",
        "--norm-groups",
        "2",
        "--verify",
    ]
    from brain_diffusion_jax.conversion import verify

    compare = verify.compare
    monkeypatch.setattr(verify, "compare", lambda *a, **k: compare(*a, **{**k, "tolerance": 0.0}))
    assert main(command) == 1  # nothing is exactly equal
    out = capsys.readouterr().out
    assert "FIRST LAYER THAT DIFFERS" in out
    assert "nothing was written" in out
    assert not run.exists()
    assert main([*command, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["verify"]["first_that_differs"]["monai"]
    monkeypatch.setattr(verify, "compare", compare)
    assert main(command) == 0
    assert "all within 0.0001" in capsys.readouterr().out
    assert run.exists()
    command[command.index(str(run))] = str(tmp_path / "again")
    assert main([*command, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)  # nothing but JSON
    assert printed["verify"]["first_that_differs"] is None
    assert printed["verify"]["layers"] > 5
    assert main(["convert", "monai", str(run), "--to", str(tmp_path / "to.pt"), "--verify", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["verify"]["not_compared"] == []
