"""Leaks that are there are found, in shards' entries, in folders and in real scans; others are not invented."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from brain_diffusion_jax.cli.main import main
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation.audit import Entry, audit, fine_structure


def brain(seed, shape=(109, 91)):
    """A bright disc with fine folds of its own."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    disc = np.hypot((y - shape[0] / 2) / shape[0], (x - shape[1] / 2) / shape[1]) < 0.42
    folds = gaussian_filter(np.random.default_rng(seed).normal(size=shape), 2)
    return np.clip(disc * (0.5 + 3 * folds), 0, 1)


@pytest.fixture
def folder(tmp_path):
    """test/p3b.jpg is train/p3.png at another size, compressed and brighter; p9 is on both sides."""
    for name, seed in {"train/p1.png": 1, "train/p2.png": 2, "train/p3.png": 3, "train/p9_a.png": 9}.items():
        save(tmp_path / name, brain(seed))
    save(tmp_path / "test/p4.png", brain(4))
    save(tmp_path / "test/p9_b.png", brain(19))
    save(tmp_path / "test/p3b.jpg", np.clip(brain(3) * 1.2, 0, 1), size=(128, 140))
    return tmp_path


def save(path, picture, size=None):
    path.parent.mkdir(exist_ok=True)
    image = Image.fromarray(np.round(picture * 255).astype(np.uint8))
    (image.resize(size) if size else image).save(path, **({"quality": 80} if path.suffix == ".jpg" else {}))


def test_folder_with_a_copy_and_a_person_on_both_sides(folder, capsys):
    assert main(["audit", str(folder), "--person", r"/(p\d+)", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["people"] == {"p9": ["test", "train"], "p3": ["test", "train"]}
    assert [(p["first"], p["second"]) for p in found["pairs"]] == [("test/p3b.jpg", "train/p3.png")]
    assert found["leaks"] == 3
    (folder / "test/p3b.jpg").unlink()
    (folder / "test/p9_b.png").unlink()
    assert main(["audit", str(folder), "--out", str(folder / "found.json")]) == 0
    assert "people: not known" in capsys.readouterr().out
    assert json.loads((folder / "found.json").read_text())["leaks"] == 0


@pytest.mark.realdata
def test_repeat_scans_stand_out_among_real_people(real_data):
    """Under made-up ids, second scans are found as look-alikes of the first ones, and hardly anything else is."""
    with np.load(real_data("oasis1_mni2mm") / "axial_slices_u8.npz") as file:
        images, sessions = file["images"][:, 2], file["session_id"]
    people = [s[:9] for s in sessions]
    twice = [i for i, p in enumerate(people) if people.count(p) > 1]
    rows = sorted({*twice, *range(0, len(people), 4)})
    entries = [Entry(str(sessions[i]), "test" if "MR2" in sessions[i] else "train", str(sessions[i])) for i in rows]
    pairs = audit(entries, np.array([fine_structure(images[i] / 255) for i in rows])).pairs
    true = [pair for pair in pairs if pair["first"][:9] == pair["second"][:9]]
    assert len(true) == 16
    assert len(pairs) <= 17  # one pair of ids in OASIS-1 looks like one person


def test_repeats_within_a_split_are_listed_without_being_leaks():
    entries = [Entry("a", "train", "p1", "s1"), Entry("b", "train", "p1", "s2"), Entry("c", "test", "p2", "s1")]
    found = audit(entries, np.array([fine_structure(brain(s)) for s in (1, 1, 2)]))
    assert found.repeats == {"p1": ["s1", "s2"]}
    assert found.leaks == 0
    assert found.pairs == []


def test_flat_pictures_resemble_nothing():
    entries = [Entry("a", "train"), Entry("b", "test")]
    assert audit(entries, np.array([fine_structure(np.zeros((20, 20)))] * 2)).leaks == 0


def test_bad_input(tmp_path, folder, capsys):
    with pytest.raises(InputError, match="an empty set"):
        audit([], np.zeros((0, 4)))
    (tmp_path / "empty").mkdir()
    (folder / "test/broken.png").write_text("no picture")
    for arguments, words in [
        ([str(tmp_path / "none")], "no such folder"),
        ([str(tmp_path / "empty")], "no images in sub-folders"),
        ([str(folder)], "broken.png: picture"),
        ([str(folder), "--person", "("], "regular expression"),
        ([str(folder), "--person", "(q)"], "no match of"),
        ([str(folder), "--threshold", "7"], "--threshold"),
    ]:
        if "threshold" in words:
            (folder / "test/broken.png").unlink()
        assert main(["audit", *arguments]) == 2
        assert words in capsys.readouterr().err
