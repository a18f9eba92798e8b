"""Pictures in folders and arrays: reading, preparation, copies, shards, and every bad input."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
from PIL import Image

from brain_diffusion_jax.cli.main import main
from brain_diffusion_jax.covariates import Schema
from brain_diffusion_jax.data.prepare import picture_prep
from brain_diffusion_jax.data.shards.loader import Loader, read_all
from brain_diffusion_jax.data.shards.splits import SplitSpec
from brain_diffusion_jax.data.shards.writer import write_shards
from brain_diffusion_jax.data.sources import image_source, near_duplicates, pictures
from brain_diffusion_jax.data.sources.pictures import Picture
from brain_diffusion_jax.errors import InputError


def head(seed: int, rows: int = 90, cols: int = 80, lean: float = 0.0, brightness: float = 150.0) -> np.ndarray:
    """A bright ellipse with individual blobs on black, leaning by `lean` degrees."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:rows, :cols] - np.array([rows / 2, cols / 2])[:, None, None]
    t = np.radians(lean)
    u, v = x * np.cos(t) + y * np.sin(t), -x * np.sin(t) + y * np.cos(t)
    inside = (u / (0.36 * cols)) ** 2 + (v / (0.42 * rows)) ** 2 < 1
    texture = sum(
        a * np.cos(k * x / 9 + m * y / 9 + p)
        for a, k, m, p in zip(rng.normal(0, 22, 8), rng.normal(0, 3, 8), rng.normal(0, 3, 8), rng.uniform(0, 6, 8))
    )
    return np.where(inside, np.clip(brightness + texture, 60, 255), 3).astype(np.uint8)


def write_folder(root, counts, start=0, splits=("",)):
    number = start
    for split in splits:
        for label, count in counts.items():
            folder = root / split / label
            folder.mkdir(parents=True)
            for i in range(count):
                Image.fromarray(head(number)).save(folder / f"p{i}.png")
                number += 1
    return root


def test_grey_coded_as_rgb_in_several_formats_is_read_as_grey(tmp_path):
    grey = head(0)
    Image.fromarray(grey).convert("RGB").save(tmp_path / "a.jpg", quality=92)
    Image.fromarray(grey).convert("RGB").save(tmp_path / "b.png")
    Image.fromarray(grey).convert("RGBA").save(tmp_path / "c.png")
    Image.fromarray(grey).convert("P").save(tmp_path / "d.png")
    for name, tolerance in (("a.jpg", 6), ("b.png", 0), ("c.png", 0), ("d.png", 0)):
        found = pictures.read_picture(tmp_path / name)
        assert found.dtype == np.uint8
        assert np.abs(found.astype(int) - grey).mean() <= tolerance


def make_bad(kind, path):
    grey = head(1)
    if kind == "zero bytes":
        path.write_bytes(b"")
    elif kind == "truncated":
        Image.fromarray(grey).save(path)
        path.write_bytes(path.read_bytes()[:200])
    elif kind == "no picture":
        path.write_text("hello")
    elif kind == "1 pixel wide":
        Image.fromarray(grey[:, :1]).save(path)
    elif kind == "16 bit":
        Image.fromarray(grey.astype(np.uint16) * 200).save(path)
    elif kind == "colour":
        Image.fromarray(np.stack([grey, grey // 3, grey // 2], -1)).save(path)
    elif kind == "transparent":
        Image.fromarray(np.stack([grey, grey, grey, grey], -1)).save(path)
    elif kind == "cmyk":
        Image.fromarray(grey).convert("CMYK").save(path, format="JPEG")


@pytest.mark.parametrize(
    ("kind", "field"),
    [
        ("zero bytes", "0 bytes"),
        ("truncated", "readable"),
        ("no picture", "readable"),
        ("1 pixel wide", "1 x 90 pixels"),
        ("16 bit", "16 bits"),
        ("cmyk", "CMYK"),
        ("colour", "coloured"),
        ("transparent", "opaque"),
    ],
)
def test_bad_pictures_are_refused_or_dropped_with_the_reason(tmp_path, kind, field):
    path = tmp_path / "a" / "bad.png"
    write_folder(tmp_path, {"a": 3, "b": 3})
    make_bad(kind, path)
    with pytest.raises(InputError, match=field):
        pictures.read_picture(path)
    with pytest.raises(InputError, match="1 unusable"):
        pictures.read_folder(tmp_path)
    source = pictures.read_folder(tmp_path, bad_pictures="drop")
    assert len(source.pictures) == 6
    assert [name for name, _ in source.failures] == ["a/bad.png"]


def test_empty_class_single_picture_and_mixed_layout_are_refused(tmp_path):
    write_folder(tmp_path / "x", {"a": 3, "b": 1})
    with pytest.raises(InputError, match=r"class b.*1 usable picture;"):
        pictures.read_folder(tmp_path / "x")
    (tmp_path / "x" / "c").mkdir()
    with pytest.raises(InputError, match="c: class folder"):
        pictures.read_folder(tmp_path / "x")
    (tmp_path / "x" / "c" / "deeper").mkdir()
    with pytest.raises(InputError, match="one layout"):
        pictures.read_folder(tmp_path / "x")
    with pytest.raises(InputError, match="no such folder"):
        pictures.read_folder(tmp_path / "nowhere")


def test_npz_source_with_names_and_its_bad_forms(tmp_path):
    images = np.stack([head(i, 64, 64) for i in range(6)])
    path = tmp_path / "set.npz"
    np.savez(path, images=images, label=np.array([0, 1, 0, 1, 0, 1]), label_names=np.array(["x", "y"]))
    source = pictures.read_source(path)
    assert source.labels == ("x", "y")
    np.testing.assert_array_equal(source.pictures[3].pixels, images[3])
    np.savez(path, images=images, label=np.array([0, 1, 0, 1, 0, 7]), label_names=np.array(["x", "y"]))
    with pytest.raises(InputError, match="0 to 7"):
        pictures.read_source(path)
    np.savez(path, images=images.astype(np.float32), label=np.zeros(6, int))
    with pytest.raises(InputError, match="uint8"):
        pictures.read_source(path)
    np.savez(path, images=images, label=np.array([{}] * 6, object))
    with pytest.raises(InputError, match="pickled"):
        pictures.read_source(path)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(InputError, match="file"):
        pictures.read_source(path)


def test_contour_crop_finds_the_head_and_says_when_it_cannot():
    canvas = np.zeros((200, 160), np.uint8)
    canvas[60:150, 40:120] = head(3)
    cut = picture_prep.contour_crop(canvas)
    assert abs(cut.shape[0] - 0.84 * 90) < 8
    assert abs(cut.shape[1] - 0.72 * 80) < 8
    with pytest.raises(picture_prep.PreparationError, match="nothing brighter"):
        picture_prep.contour_crop(np.full((64, 64), 20, np.uint8))
    dark = picture_prep.prepare_picture(
        np.full((64, 64), 20, np.uint8), picture_prep.PicturePrep(crop=True, tilt=True, size=32)
    )
    assert [reason.split(":")[0] for reason in dark.failed] == ["tilt", "crop"]
    assert dark.pixels.shape == (32, 32)


@pytest.mark.parametrize("lean", [-20.0, -8.0, 0.0, 15.0])
def test_tilt_is_measured_and_undone(lean):
    tilted = head(4, lean=lean)
    before = picture_prep.tilt_degrees(tilted)
    assert abs(abs(before) - abs(lean)) < 2.5
    after = picture_prep.tilt_degrees(picture_prep.upright(tilted, before))
    assert abs(after) < 2.0


def test_square_keeps_the_middle_and_the_proportions():
    wide = np.zeros((40, 80), np.uint8)
    wide[:, 30:50] = 200
    square = picture_prep.to_square(wide, 40)
    assert square.shape == (40, 40)
    assert square[:9].max() < 40  # padding above
    assert square[20, 20] > 180
    assert np.abs(square.astype(int) - square[::-1, ::-1]).max() <= 2


def test_copies_are_found_by_pixels_then_correlation_and_leaks_reported():
    originals = [head(i) for i in range(6)]
    rng = np.random.default_rng(0)
    noisy = np.clip(originals[1] + rng.normal(0, 3, originals[1].shape), 0, 255).astype(np.uint8)
    larger = np.asarray(Image.fromarray(originals[2]).resize((160, 180)))
    items = [Picture(f"train/{i}", "a", p, "Training") for i, p in enumerate(originals)]
    items += [Picture(f"test/{i}", "a", p, "Testing") for i, p in enumerate([originals[0], noisy, larger, head(50)])]
    copies = near_duplicates.find(items, 0.97)
    assert copies.group.tolist() == [0, 1, 2, 3, 4, 5, 0, 1, 2, 6]
    assert copies.exact.tolist() == [0, 1, 2, 3, 4, 5, 0, 6, 7, 8]
    (leak,) = near_duplicates.leaks(items, copies)
    assert (leak.checked, leak.pictures, leak.exact, leak.near) == ("Testing", 4, 1, 3)
    kept, dropped = near_duplicates.keep_one(items, copies)
    assert kept == [0, 1, 2, 3, 4, 5, 9]
    assert len(dropped) == 3


def test_copies_with_several_labels_are_all_left_out():
    same = head(9)
    items = [Picture("a/1", "a", same), Picture("b/1", "b", same), Picture("b/2", "b", head(10))]
    kept, dropped = near_duplicates.keep_one(items, near_duplicates.find(items))
    assert kept == [2]
    assert {reason for _, reason in dropped} == {"copies carry several labels"}


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


@pytest.mark.realdata
def test_real_jpegs_are_grey_and_croppable(real_data):
    files = sorted((real_data("tumor_mri_2d") / "raw_samples").glob("*.jpg"))
    assert len(files) == 8
    for path in files:
        result = picture_prep.prepare_picture(pictures.read_picture(path), picture_prep.PicturePrep(crop=True, size=64))
        assert result.pixels.shape == (64, 64)
        assert not result.failed
        assert result.pixels.mean() > 15
