"""One-file runs and their model card."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from brain_diffusion_jax import config as configs
from brain_diffusion_jax.contract import Contract
from brain_diffusion_jax.conversion import safetensors_file
from brain_diffusion_jax.conversion.model_card import model_card
from brain_diffusion_jax.covariates import Schema
from brain_diffusion_jax.errors import InputError

CONFIG: dict[str, Any] = configs.to_json(configs.base_config())
CONTRACT = Contract(
    schema=Schema.from_json(CONFIG["covariates"]),
    image_size=(109, 91),
    split={"unit": "slice", "seed": 1},
    source="a|b",
)
PARAMS = {
    "unet": {"conv_in": {"kernel": np.arange(12, dtype=np.float32).reshape(3, 4).T, "bias": np.zeros(3, np.float32)}},
    "scalar": np.float32(2.0),
}


def test_everything_comes_back(tmp_path: Path) -> None:
    run = safetensors_file.PublishedRun("age", CONFIG, CONTRACT, PARAMS, {"batch_stats": {"mean": np.ones(2)}})
    path = safetensors_file.write(tmp_path / "run.safetensors", run)
    again = safetensors_file.read(path)
    assert (again.kind, again.config, again.contract) == ("age", CONFIG, CONTRACT)
    # The transposed view arrives as what it showed, not as its memory.
    np.testing.assert_array_equal(again.params["unet"]["conv_in"]["kernel"], PARAMS["unet"]["conv_in"]["kernel"])
    assert again.params["scalar"].shape == ()
    np.testing.assert_array_equal(again.model_state["batch_stats"]["mean"], np.ones(2))
    assert [p.name for p in tmp_path.iterdir()] == ["run.safetensors"]
    bare = safetensors_file.PublishedRun("diffusion", CONFIG, None, PARAMS)
    assert safetensors_file.read(safetensors_file.write(tmp_path / "b.safetensors", bare)).contract is None


def test_bad_files(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    foreign = tmp_path / "foreign.safetensors"
    save_file({"conv_in.conv.weight": np.zeros(2, np.float32)}, foreign)
    whole = safetensors_file.write(
        tmp_path / "w.safetensors", safetensors_file.PublishedRun("age", CONFIG, None, PARAMS)
    ).read_bytes()
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(whole[:-8])
    for path, words in (
        (foreign, "convert monai"),
        (cut, "unreadable"),
        (tmp_path / "absent.safetensors", "no such file"),
    ):
        with pytest.raises(InputError, match=words):
            safetensors_file.read(path)
    with pytest.raises(InputError, match="suffix"):
        safetensors_file.write(tmp_path / "x.bin", safetensors_file.PublishedRun("age", CONFIG, None, PARAMS))


def test_card_says_what_is_known_and_what_is_not() -> None:
    study = {
        "rows": [
            {"name": "real", "num_pictures": 40, "numbers": {"mae": {"value": 4.0, "low": 3.5, "high": None}}},
            {"name": "w=3", "num_pictures": 41, "numbers": {"fid": {"value": 0.5, "low": 0.25, "high": 0.75}}},
        ],
        "notes": ["split by slice"],
    }
    history = [{"step": 10, "time": 1.0, "validation_loss": 0.25}, {"step": 20, "loss": 0.125}]
    text = model_card("tiny", "diffusion", CONFIG, CONTRACT, parameters=1_500_000, history=history, study=study)
    for words in (
        "# tiny",
        "1.50 million parameters",
        "Not for diagnosis",
        "109 x 91",
        "| age | years | 18 to 96 |",
        "| sex | one of | F, M |",
        "| validation_loss | 0.25 |",
        "| w=3 | 41 |  | 0.5 (0.25 to 0.75) |",
        "Split by slice",
        "a\\|b",  # a bar in a cell does not break the table
        'model.sample([{"age": 57.0, "sex": "F", "slice": 45.0}]',
    ):
        assert words in text, words
    assert "No study" not in text
    bare = model_card("x", "age", CONFIG, None, parameters=10)
    for words in (
        "Unknown: the weights came without a data contract",
        "No study of this run",
        "None measured",
        "predict(",
    ):
        assert words in bare, words
