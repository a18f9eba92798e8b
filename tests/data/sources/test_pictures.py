"""Pictures in folders and arrays: reading, and every bad input."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from small_pictures import head, write_folder

from brain_diffusion_jax.data.sources import pictures
from brain_diffusion_jax.errors import InputError


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
