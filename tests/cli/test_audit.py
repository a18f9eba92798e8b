"""`brain-diffusion audit`: exit status, and the file of findings."""

from __future__ import annotations

import json

import numpy as np
from PIL import Image

from brain_diffusion_jax.cli.main import main


def test_one_image_on_both_sides_is_found(tmp_path, capsys):
    rng = np.random.default_rng(0)
    for split, count in (("train", 3), ("test", 2)):
        (tmp_path / "images" / split).mkdir(parents=True)
        for number in range(count):
            pixels = rng.integers(0, 255, (32, 32)).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / split / f"{split}{number}.png")
    words = ["audit", str(tmp_path / "images"), "--json"]
    assert main(words) == 0
    capsys.readouterr()
    copy = tmp_path / "images" / "test" / "copy.png"
    copy.write_bytes((tmp_path / "images" / "train" / "train1.png").read_bytes())
    assert main([*words, "--out", str(tmp_path / "found.json")]) == 1
    assert json.loads(capsys.readouterr().out) == json.loads((tmp_path / "found.json").read_text())
    assert "copy.png" in (tmp_path / "found.json").read_text()
    assert main([*words, "--threshold", "2"]) == 2
    assert "--threshold" in capsys.readouterr().err
