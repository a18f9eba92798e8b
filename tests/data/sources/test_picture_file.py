"""One reader of picture files: depth decides the scale, what needs a choice is refused, bombs are not decoded."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from brain_diffusion_jax.data.sources import picture_file
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.pixels import to_unit

GREY = np.arange(20 * 18, dtype=np.uint8).reshape(20, 18) % 251


def save(path, pixels, **options):
    Image.fromarray(pixels).save(path, **options)
    return path


@pytest.mark.parametrize(
    ("name", "pixels"),
    [
        ("8.png", GREY),
        ("16.png", GREY.astype(np.uint16) * 257),
        ("16.tif", GREY.astype(np.uint16) * 257),
        ("big.tif", (GREY.astype(np.uint16) * 257).astype(">u2")),
        ("float.tif", GREY.astype(np.float32) / np.float32(255)),
        ("8.bmp", GREY),
        ("rgb.png", np.stack([GREY] * 3, -1)),
    ],
)
def test_equal_pictures_of_any_depth_are_equal(tmp_path, name, pixels):
    np.testing.assert_array_equal(
        to_unit(picture_file.read_grey(save(tmp_path / name, pixels))), GREY.astype(np.float32) / 255
    )


def test_12_bits_of_a_tiff_that_names_them_are_scaled_by_their_own_depth(tmp_path):
    path = save(tmp_path / "12.tif", np.full((20, 20), 4095, np.uint16))
    tag = struct.pack("<HHIH", 258, 3, 1, 16)
    raw = path.read_bytes()
    assert raw.count(tag) == 1
    # Twelve bits are packed three bytes to two pixels: all ones stay all ones.
    path.write_bytes(raw.replace(tag, struct.pack("<HHIH", 258, 3, 1, 12)).replace(b"\xff\x0f", b"\xff\xff"))
    assert (picture_file.read_grey(path) == 1).all()


@pytest.mark.parametrize(
    ("name", "pixels", "options", "words"),
    [
        ("f.tif", np.full((20, 20), 1.5, np.float32), {}, "floats from 1.5"),
        ("nan.tif", np.full((20, 20), np.nan, np.float32), {}, "floats from nan"),
        ("i.tif", np.full((20, 20), 70000, np.int32), {}, "mode I"),
        ("gif.png", GREY, {"format": "GIF"}, "readable PNG"),
        ("two.tif", GREY, {"save_all": True, "append_images": [Image.fromarray(GREY)]}, "2 in one file"),
        ("clear.png", GREY, {"transparency": 7}, "not opaque"),
    ],
)
def test_what_needs_a_choice_is_refused(tmp_path, name, pixels, options, words):
    with pytest.raises(InputError, match=words):
        picture_file.read_grey(save(tmp_path / name, pixels, **options))


@pytest.mark.parametrize("side", [13_000, 20_000])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_bomb_is_refused_by_its_header(tmp_path, side, monkeypatch):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 6, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    (tmp_path / "b.png").write_bytes(start + chunk(b"IDAT", zlib.compress(bytes(side))) + chunk(b"IEND", b""))
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda *_: pytest.fail("decoded"))
    with pytest.raises(InputError, match=f"{side} x {side}|limit"):
        picture_file.read_grey(tmp_path / "b.png")


def test_a_stack_of_several_depths_is_one_of_unit_pictures(tmp_path):
    paths = [save(tmp_path / "a.png", GREY), save(tmp_path / "b.png", GREY.astype(np.uint16) * 257)]
    (tmp_path / "._a.png").write_bytes(b"left by macOS")
    assert picture_file.picture_paths(tmp_path) == paths
    stack = picture_file.read_stack(paths)
    assert stack.dtype == np.float32
    np.testing.assert_array_equal(stack[0], stack[1])
    assert picture_file.read_stack(paths[:1]).dtype == np.uint8


def test_colour_is_read_where_it_is_asked_for(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 4, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    np.testing.assert_array_equal(picture_file.read_colour(tmp_path / "a.png"), pixels)
    Image.fromarray(pixels[..., 0]).save(tmp_path / "b.png")
    with pytest.raises(InputError, match="colours: found L; expected RGB"):
        picture_file.read_colour(tmp_path / "b.png")
