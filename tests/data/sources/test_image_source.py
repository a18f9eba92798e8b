"""Pictures to shards: copies on one side, the leaks of a given split named, classes checked."""

from __future__ import annotations

import json
import warnings

import numpy as np
from PIL import Image
from small_pictures import write_folder

from brain_diffusion_jax.cli.main import main
from brain_diffusion_jax.covariates import Schema
from brain_diffusion_jax.data.prepare import picture_prep
from brain_diffusion_jax.data.shards.loader import Loader, read_all
from brain_diffusion_jax.data.shards.splits import SplitSpec
from brain_diffusion_jax.data.shards.writer import write_shards
from brain_diffusion_jax.data.sources import image_source, pictures

SCHEMA = Schema.from_json([{"name": "class", "values": ("a", "b")}])


def test_folder_to_shards_and_back_with_copies_on_one_side(tmp_path):
    root = write_folder(tmp_path / "src", {"a": 14, "b": 14})
    for i in range(14):  # every picture twice, once a little brighter
        copy = np.clip(pictures.read_picture(root / "a" / f"p{i}.png").astype(int) + 4, 0, 255).astype(np.uint8)
        Image.fromarray(copy).save(root / "a" / f"q{i}.png")
    spec = image_source.PicturesSpec(str(root), copies="same_side", prep=picture_prep.PicturePrep(size=32))
    source = image_source.open_images(spec, SCHEMA)
    split = SplitSpec(train=0.6, validation=0.2, test=0.2, stratify=("class",))
    contract = write_shards(tmp_path / "shards", source, split)
    assert contract.kind == "pictures"
    assert contract.image_size == (32, 32)
    assert any("copies" in note for note in source.notes)
    sides = {name: read_all(tmp_path / "shards", name) for name in ("train", "validation", "test")}
    people = [set(side["person"]) for side in sides.values()]
    assert not (people[0] & people[1])
    assert not (people[0] & people[2])
    assert not (people[1] & people[2])
    assert sum(len(side["image"]) for side in sides.values()) == 42
    train = sides["train"]
    for image, condition, name in zip(train["image"], train["conditions"], train["scan"]):
        assert condition["class"] == name.split("/")[0]
        expected = picture_prep.to_square(pictures.read_picture(root / name), 32)
        np.testing.assert_array_equal(image[..., 0], expected)
    loader = Loader(tmp_path / "shards", "train", 16, class_balance="class")
    drawn = np.concatenate([next(loader)["values"][:, 0] for _ in range(30)])
    assert 0.4 < drawn.mean() < 0.6  # though a is twice as frequent


def test_prepare_command_reports_the_leak_of_a_split_layout(tmp_path, capsys):
    root = write_folder(tmp_path / "src", {"a": 8, "b": 8}, splits=("Training",))
    for label in ("a", "b"):
        (root / "Testing" / label).mkdir(parents=True)
        for i in range(3):
            (root / "Testing" / label / f"t{i}.png").write_bytes((root / "Training" / label / f"p{i}.png").read_bytes())
    config = tmp_path / "c.py"
    config.write_text(
        "from brain_diffusion_jax.config import base_config\n"
        "def get_config():\n    c = base_config()\n    c.covariates = ({'name': 'class', 'values': ('a', 'b')},)\n"
        "    c.pictures.size = 32\n    return c\n"
    )
    arguments = ["prepare", str(config), f"pictures.root={root}", "split.stratify=('class',)"]
    assert main([*arguments, "--out", str(tmp_path / "out"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert any("6 of 6 pictures in 'Testing' have a copy in 'Training'" in remark for remark in found["remarks"])
    assert found["train"]["pictures"] + found["validation"]["pictures"] + found["test"]["pictures"] == 16
    # A class that the schema does not know, and one it misses.
    (root / "Training" / "b").rename(root / "Training" / "unheard")
    (root / "Testing" / "b").rename(root / "Testing" / "unheard")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert main([*arguments, "--out", str(tmp_path / "out2")]) == 2
    assert "unheard" in capsys.readouterr().err
