"""The explorer in headless Chromium: sliders, keys and cuts show the pixels that were put in, to the last bit."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from brain_diffusion_jax.data.picture_grid import three_planes
from brain_diffusion_jax.evaluation.explore import page
from brain_diffusion_jax.evaluation.explore.axes import Axes, Axis

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"]
FLAGS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
FLAGS += ["--host-resolver-rules=MAP * ~NOTFOUND"]  # only the file itself may be reached
AXES = Axes(
    (Axis("age", (20.0, 55.0, 90.0), "years"), Axis("sex", ("F", "M"))),
    Axis("guidance scale", (1.0, 3.0)),
    Axis("seed", (0,)),
)
IN_BROWSER = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (Debian package chromium)")
# What a person does, then what each canvas holds: [grey values row by row] of every visible one.
PROBE = """<script>addEventListener('load', () => {
const told = [];
const read = canvas => { const d = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
  return [...Array(d.length / 4).keys()].map(i => [d[4 * i], d[4 * i + 1], d[4 * i + 2]]); };
const shot = () => told.push({canvases: [...document.querySelectorAll('figure:not([hidden]) canvas')].map(read),
  readings: [...document.querySelectorAll('.reading')].map(r => r.textContent),
  caption: document.querySelector('#now figcaption').textContent, hash: location.hash,
  wide: document.documentElement.scrollWidth - innerWidth});
const slide = (name, k) => { const i = document.querySelector(`.axis[data-name="${name}"] input`);
  i.value = k; i.dispatchEvent(new Event('input')); };
const press = key => dispatchEvent(new KeyboardEvent('keydown', {key}));
const word = (name, k) => document.querySelectorAll(`.axis[data-name="${name}"] button`)[k].click();
ACTIONS
const out = document.createElement('script'); out.type = 'application/json'; out.id = 'told';
out.textContent = JSON.stringify(told).replace(/</g, '\\\\u003c'); parent.document.body.append(out);
});</script>"""


def told(path, actions, width=1280, fragment=""):
    """What the page's canvases hold at each shot() of `actions`, and the screenshot."""
    probed, text = path.with_name("probed.html"), path.read_text()
    text = text.replace("</body>", PROBE.replace("ACTIONS", actions) + "</body>")
    if width < 500:  # no window of Chromium is narrower
        inner = f'<iframe srcdoc="{html.escape(text)}" width="{width}" height="1390" style="border:0"></iframe>'
        text = f'<!DOCTYPE html><body style="margin:0">{inner}</body>'
    probed.write_text(text)
    shot = path.with_name("shot.png")
    command = [CHROMIUM, *FLAGS, f"--window-size={width},1400", f"--user-data-dir={path.parent / 'profile'}"]
    command += [f"--screenshot={shot}", "--dump-dom", f"file://{probed}{fragment}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True)
    return json.loads(re.search(r'id="told">(.*?)</script>', done.stdout).group(1)), np.asarray(Image.open(shot))


def write(folder, images, axes=AXES):
    rng = np.random.default_rng(1)
    readings = [page.Reading("predicted age", np.linspace(20, 90, len(images)), "years")]
    readings.append(page.Reading("dark </script> fraction", np.where(rng.random(len(images)) < 0.2, np.nan, 0.5), "%"))
    story = page.Story("A <model>", "12 pictures", ["A note."], {"guidance scale": 3.0})
    return page.write_page(folder / "explore.html", axes, page.frames_of(images), images.shape[1:], readings, story)


def stored(image):
    return np.round(image[..., 0] * 255)


@pytest.mark.browser
@IN_BROWSER
def test_sliders_and_keys_show_the_pictures_of_slices(tmp_path, monkeypatch):
    monkeypatch.setattr(page, "_SHEET", 9 * 7 * 5)  # five pictures a sheet: three sheets, the last not full
    images = np.random.default_rng(0).integers(0, 256, (12, 9, 7, 1)).astype(np.float32) / 255
    path = write(tmp_path, images)
    actions = """shot(); slide('age', 2); shot(); word('sex', 1); press('p'); shot();
    slide('guidance scale', 0); shot();
    press('ArrowUp'); press('ArrowUp'); press('ArrowLeft'); press('ArrowLeft'); press('ArrowLeft'); shot();
    press('Escape'); press('ArrowRight'); shot();"""
    found, shot = told(path, actions)
    grid = stored(images).reshape(3, 2, 2, 9, 7)  # age, sex, scale
    wanted = [(1, 0, 1), (2, 0, 1), (2, 1, 1), (2, 1, 0), (0, 1, 0), (1, 1, 0)]
    for state, place in zip(found, wanted, strict=True):
        canvas = np.array(state["canvases"][0]).reshape(9, 7, 3)
        assert (canvas == grid[place][..., None]).all(), place
        assert state["hash"].startswith("#" + ",".join(map(str, place)))
    assert found[2]["caption"] == "age 90, sex M, guidance scale 3"
    assert [len(state["canvases"]) for state in found] == [1, 1, 3, 3, 3, 1]

    # The pinned picture stays; the difference is orange where it is brighter now, blue where it is darker.
    now, pinned, change = (np.array(c).reshape(9, 7, 3) for c in found[4]["canvases"])
    assert (pinned == grid[2, 1, 1][..., None]).all()
    difference = now[..., 0] - pinned[..., 0]
    assert (change[difference > 8][:, 0] > change[difference > 8][:, 2]).all()
    assert (change[difference < -8][:, 2] > change[difference < -8][:, 0]).all()
    assert (change[difference == 0] == 0).all()

    # The readings are those of the picture, with the difference to the pinned one.
    index = np.ravel_multi_index((0, 1, 0), (3, 2, 2))
    value, before = (np.linspace(20, 90, 12)[i] for i in (index, 11))
    assert f"{value:.1f} years, \u2212{before - value:.1f}" in found[4]["readings"][0]
    assert shot.shape[1] == 1280
    assert shot.std() > 10


@pytest.mark.browser
@IN_BROWSER
def test_three_planes_of_volumes_are_cut_where_the_sliders_stand(tmp_path):
    volumes = np.random.default_rng(0).integers(0, 256, (12, 6, 8, 5, 1)).astype(np.float32) / 255
    path = write(tmp_path, volumes)
    actions = """shot(); slide('sagittal x', 1); slide('coronal y', 6); slide('axial z', 4); press('p'); shot();
    const c = document.querySelector('canvas'), b = c.getBoundingClientRect();
    c.dispatchEvent(new PointerEvent('pointerdown', {clientX: b.left + 1, clientY: b.top + 1})); shot();"""
    found, _ = told(path, actions, fragment="#2,1,0,0,3,4,2")
    chosen = stored(volumes).reshape(3, 2, 2, 6, 8, 5)[2, 1, 0]
    for state, at in zip(found, [(3, 4, 2), (1, 6, 4), (5, 7, 4)], strict=True):
        sheet = three_planes(chosen, at)  # side by side, shorter cuts filled up below
        sizes = [(8, 6), (5, 6), (5, 8)]
        left = 0
        for canvas, (rows, cols) in zip(state["canvases"], sizes, strict=False):
            assert (np.array(canvas).reshape(rows, cols, 3)[..., 0] == sheet[:rows, left : left + cols]).all(), at
            left += cols
    assert len(found[1]["canvases"]) == 9


@pytest.mark.browser
@IN_BROWSER
def test_a_phone_sees_the_picture_and_colours(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (12, 9, 7, 3)).astype(np.float32) / 255
    found, shot = told(write(tmp_path, images), "press('ArrowRight'); press('p'); shot();", 400)
    assert (np.array(found[0]["canvases"][0]).reshape(9, 7, 3) == np.round(images[9] * 255)).all()  # 90, F, 3
    assert found[0]["wide"] <= 0
    assert shot[:, :400].std() > 10
    volumes = np.random.default_rng(0).random((12, 6, 8, 5, 1)).astype(np.float32)
    found, _ = told(write(tmp_path, volumes), "press('p'); shot();", 400)
    assert len(found[0]["canvases"]) == 9
    assert found[0]["wide"] <= 0


def test_the_page_is_one_file_and_says_what_it_is(tmp_path):
    images = np.zeros((12, 9, 7, 1), np.float32)
    text = write(tmp_path, images).read_text()
    assert not re.findall(r'(?:src|href)="(?!data:)', text)
    assert "A &lt;model&gt;" in text
    assert text.count("</script>") == 2  # what a reading is called ends no script
    assert [p.name for p in tmp_path.iterdir()] == ["explore.html"]


def test_the_size_that_is_told_is_never_exceeded(tmp_path):
    noise = np.random.default_rng(0).random((12, 40, 30, 1)).astype(np.float32)  # nothing to compress
    size = write(tmp_path, noise).stat().st_size
    assert size - page.TEMPLATE.stat().st_size < 12 * page.most_bytes((40, 30, 1)) + 2000
