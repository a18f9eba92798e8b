"""`evaluate` as a user runs it, on folders of made-up images."""

from __future__ import annotations

import json

import numpy as np
from PIL import Image

from brain_diffusion_jax.cli.main import main


def save(folder, images):
    folder.mkdir(parents=True)
    for index, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{index:03d}.png")
    return str(folder)


def test_evaluate_two_folders(tmp_path, capsys, told):
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:24, :20]
    blobs = [200 * np.exp(-((y - a) ** 2 + (x - b) ** 2) / 30) for a, b in rng.uniform(6, 16, (45, 2))]
    blobs = np.array(blobs).astype(np.uint8)
    first, second = save(tmp_path / "a", blobs[:15]), save(tmp_path / "b", blobs[15:])
    noise = save(tmp_path / "noise", rng.integers(0, 255, (15, 24, 20)).astype(np.uint8))
    scores = {}
    for name, folder in (("near", second), ("far", noise)):
        assert main(["evaluate", folder, "--against", first, "--bootstrap", "5", "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["pictures"] == 15  # equal numbers, whatever the folders hold
        scores[name] = found["numbers"]
    assert scores["near"]["FD[pixels-24x24]"]["value"] < 0.2 * scores["far"]["FD[pixels-24x24]"]["value"]
    assert scores["near"]["precision"]["value"] > scores["far"]["precision"]["value"]
    told.clear()
    assert main(["evaluate", first, "--against", second]) == 0
    assert told == {
        "pixels-24x24": [(0, 15), (15, 15)] * 2,  # features of either set
        "distances": [(0, 2), (1, 2), (2, 2)],
        "diversity": [(0, 2), (1, 2), (1, 2), (2, 2)],
    }
    assert "FD[pixels-24x24]" in capsys.readouterr().out


def test_evaluate_refuses_bad_folders(tmp_path, capsys):
    pictures = np.zeros((3, 24, 20), np.uint8)
    good = save(tmp_path / "good", pictures)
    other = save(tmp_path / "other", np.zeros((3, 30, 30), np.uint8))
    mixed = tmp_path / "mixed"
    save(mixed, pictures)
    Image.fromarray(np.zeros((5, 5), np.uint8)).save(mixed / "zz.png")
    (tmp_path / "empty").mkdir()
    for words, message in [
        ([good], "both or neither"),
        ([str(tmp_path / "none"), "--against", good], "no such folder"),
        ([str(tmp_path / "empty"), "--against", good], "an empty set"),
        ([str(mixed), "--against", good], "zz.png: picture size"),
        ([other, "--against", good], "image shape: found (30, 30, 1); expected (24, 20, 1)"),
    ]:
        assert main(["evaluate", *words]) == 2
        assert message in capsys.readouterr().err


def test_evaluate_reads_equal_sets_of_other_depth_as_equal(tmp_path, capsys):
    pictures = np.random.default_rng(1).integers(0, 255, (6, 24, 20)).astype(np.uint8)
    deep = pictures.astype(np.uint16) * 257
    words = ["evaluate", save(tmp_path / "deep", deep), "--against", save(tmp_path / "a", pictures)]
    assert main([*words, "--bootstrap", "0", "--json"]) == 0
    numbers = json.loads(capsys.readouterr().out)["numbers"]
    assert abs(numbers["FD[pixels-24x24]"]["value"]) < 1e-6
    words[1] = save(tmp_path / "dim", deep // 16)
    assert main(words) == 2
    assert "12 bits in 16" in capsys.readouterr().err
