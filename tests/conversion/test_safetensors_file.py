"""One-file runs and their model card."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from brain_diffusion_jax import config as configs
from brain_diffusion_jax.contract import Contract, Split
from brain_diffusion_jax.conversion import safetensors_file
from brain_diffusion_jax.covariates import Schema
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.tasks.model_card import model_card

CONFIG: dict[str, Any] = configs.to_json(configs.base_config())
CONTRACT = Contract(
    schema=Schema.from_json(CONFIG["covariates"]),
    image_size=(109, 91),
    split=Split("slice", 1),
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


def test_a_name_is_text_in_the_card_and_nothing_else() -> None:
    name = "<script>alert(1)</script> [x](javascript:y) ![i](http://z) `c` *b* _e_\n# H | \\"
    config = {**CONFIG, "name": name, "model": {**CONFIG["model"], "dtype": name}, "optimizer": {"name": name}}
    study = {"rows": [{"name": name, "num_pictures": 1, "numbers": {name: {"value": 1.0}}}], "notes": [name]}
    text = model_card(
        name, "diffusion", config, None, parameters=1, history=[{"step": 1, "loss": 1.0}], study=study, example=name
    )
    body = text.split("## Use")[0]
    assert "<script" not in body
    assert "&lt;script&gt;" in body
    assert not [line for line in text.splitlines() if line.startswith("# ") and "alert" not in line]
    assert not re.search(r"(?<!\\)(\]\(|`c|\*b| _e)", body)
    assert text.count("```") == 4


def packed(**changes: Any) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Arrays and metadata as release 0.1 wrote them, without a digest."""
    arrays = {"params/a/kernel": np.ones((2, 3), np.float32), "params/b": np.ones((), np.float32)}
    metadata = {"format": safetensors_file.FORMAT, "package_version": "0.1.0", "kind": "age"}
    return arrays | changes, metadata | {"config": json.dumps(CONFIG), "contract": ""}


def test_files_without_a_digest_open_and_bad_trees_are_refused(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    path = tmp_path / "old.safetensors"
    arrays, metadata = packed()
    save_file(arrays, path, metadata)
    assert safetensors_file.read(path).params["a"]["kernel"].shape == (2, 3)
    one = np.ones(1, np.float32)
    for extra, words in (
        ({"params" + "/x" * 3000: one}, "of at most"),
        ({"params/a": one}, "params/a, with others inside it"),
        ({"params/b/c": one}, "params/b, with others inside it"),
        ({"params/c": np.array([1, np.nan], np.float32)}, "params/c: found 1 of 2 numbers NaN"),
    ):
        save_file(packed(**extra)[0], path, metadata)
        with pytest.raises(InputError, match=words):
            safetensors_file.read(path)
    run = safetensors_file.PublishedRun("age", CONFIG, None, {"a": np.array([np.inf], np.float32)})
    with pytest.raises(InputError, match="NaN"):
        safetensors_file.write(tmp_path / "new.safetensors", run)
    assert not (tmp_path / "new.safetensors").exists()


def test_no_flipped_byte_passes(tmp_path: Path) -> None:
    """Every byte of the numbers, every third of the header."""
    path = tmp_path / "run.safetensors"
    run = safetensors_file.PublishedRun(
        "age", {"name": "x", "covariates": []}, None, {"a": {"b": np.ones(4, np.int32)}}
    )
    whole = safetensors_file.write(path, run).read_bytes()
    data = len(whole) - 16
    for place in [*range(8, data, 3), *range(data, len(whole))]:
        damaged = bytearray(whole)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        try:
            again = safetensors_file.read(path)
        except InputError:
            continue
        assert whole[place : place + 1] in b" ", place  # padding between header and numbers
        assert again.config == run.config
