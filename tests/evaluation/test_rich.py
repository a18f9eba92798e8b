"""What a notebook shows: the pixels of a grid or of three planes, tables with everything escaped."""

from __future__ import annotations

import base64
import io
import re
import sys
import types

import numpy as np
import pytest
import tiny_runs
from PIL import Image

from brain_diffusion_jax import api
from brain_diffusion_jax.api.sweeps import Sweep
from brain_diffusion_jax.data.picture_grid import three_planes
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation import rich
from brain_diffusion_jax.evaluation.study.study_result import Row, StudyResult


def decoded(html):
    (data,) = re.findall(r'src="data:image/png;base64,([^"]+)"', html)
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


def test_slices_are_a_grid():
    images = np.random.default_rng(0).integers(0, 256, (5, 6, 4, 1)).astype(np.uint8)
    sheet = decoded(api.Pictures(images, columns=3)._repr_html_())
    assert sheet.shape == (2 * 6 + 1, 3 * 4 + 2)
    assert (sheet[:6, 5:9] == images[1, ..., 0]).all()
    assert (sheet[7:, :4] == images[3, ..., 0]).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_volumes_are_three_planes(channels):
    volumes = np.random.default_rng(0).integers(0, 256, (2, 6, 8, 5, channels)).astype(np.uint8)
    sheet = decoded(rich.Pictures(volumes)._repr_html_())
    wanted = three_planes(volumes[1, ..., 0])
    assert (sheet.reshape(*sheet.shape[:2], -1)[-wanted.shape[0] :, :, 0] == wanted).all()
    assert repr(rich.Pictures(volumes)) == "2 volumes of 6 x 8 x 5"


def test_what_is_no_set_of_images_is_refused():
    for images in (np.zeros((0, 4, 4, 1)), np.full((1, 4, 4, 1), np.nan), np.zeros((1, 4, 4, 4, 2)), np.zeros(3)):
        with pytest.raises(InputError):
            rich.Pictures(images)


def test_a_model_says_what_it_is(tmp_path, capsys):
    run = tiny_runs.bare_run(tmp_path / "run", "gan")
    model = api.load(run)
    html = model._repr_html_()
    assert "slices of 14 x 12" in html
    assert "<td>covariate sex</td><td>F, M</td>" in html
    assert "years" in html
    model.show()
    assert capsys.readouterr().out == f"{model!r}\n"


def test_show_displays_in_a_notebook(monkeypatch):
    shown = []
    shell = types.SimpleNamespace(kernel=object())
    module = types.SimpleNamespace(get_ipython=lambda: shell, display=types.SimpleNamespace(display=shown.append))
    monkeypatch.setitem(sys.modules, "IPython", module)
    pictures = rich.Pictures(np.zeros((1, 4, 4, 1)))
    pictures.show()
    assert shown == [pictures]


def test_a_study_shows_its_main_numbers():
    numbers = {
        "FD[pixels]": {"value": 0.5, "low": 0.25, "high": 0.75},
        "age mae": {"value": 4.0},
        "recall": {"value": 1},
    }
    html = StudyResult(
        "A <study>", {}, [Row("real", None, 9, 9), Row("w=3", 3.0, 9, 9, numbers)], ["<b>"]
    )._repr_html_()
    assert "A &lt;study&gt;" in html
    assert "&lt;b&gt;" in html
    assert "<td>w=3</td><td>0.5 [0.25, 0.75]</td><td>4</td>" in html
    assert "recall" not in html


def test_a_sweep_shows_grid_and_table(tmp_path):
    sheet = np.arange(48, dtype=np.uint8).reshape(6, 8)
    Image.fromarray(sheet).save(tmp_path / "grid.png")
    html = Sweep(
        {}, [{"cell": "a", "sampler": "ddim", "mean": 0.5}, {"sampler": "x<y"}], tmp_path / "grid.png"
    )._repr_html_()
    assert (decoded(html) == sheet).all()
    assert "<th>sampler</th><th>mean</th>" in html
    assert "x&lt;y" in html
    assert "cell" not in html
