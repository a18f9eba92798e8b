"""EMA length as an axis of a sweep."""

from __future__ import annotations

import jax
import numpy as np
import pytest
import tiny_runs

from brain_diffusion_jax import api
from brain_diffusion_jax.cli.main import main
from brain_diffusion_jax.data.sample_folder import read_pictures
from brain_diffusion_jax.training.run_folder.store import Store


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run with averages of two lengths, each another multiple of the weights, at two steps."""
    folder = tiny_runs.diffusion_run(tmp_path_factory.mktemp("averages") / "run")
    params = api.load(folder).params
    store = Store(folder)
    for step in (10, 20):
        factors = {"0.05": 1 - 0.01 * step, "0.1": 1 - 0.02 * step}
        store.snapshot(
            step, {width: jax.tree.map(lambda a, f=f: np.float32(f * a), params) for width, f in factors.items()}
        )
    store.wait()
    store.close()
    return folder


def test_a_sweep_over_averages_of_the_weights(run, tmp_path, capsys):
    words = ["sweep", str(run), "--set", "age=20,60", "--scales", "1,2", "--out", str(tmp_path / "out")]
    assert main([*words, "--ema-lengths", "stored,0.05,0.1", "--samplers", "ddim"]) == 0
    assert "ema=0.05" in (tmp_path / "out" / "sweep.csv").read_text()
    model = api.load(run)
    half = model.with_params(jax.tree.map(lambda a: np.float32(0.8 * a), model.params))
    wanted = {}
    for name, source in (("ema=stored", model), ("ema=0.05", half)):
        conditions = [{"age": 20.0}, {"age": 60.0}]
        wanted[name] = source.sweep(conditions, [1.0, 2.0], num_steps=model.config.sample.num_steps)
    assert np.abs(wanted["ema=stored"] - wanted["ema=0.05"]).max() > 0.02
    rows = [line.split(",") for line in (tmp_path / "out" / "sweep.csv").read_text().splitlines()]
    table = [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]
    assert len(table) == 6
    for row in table:
        if row["model"] in wanted:
            found = read_pictures(tmp_path / "out" / row["cell"])[0]
            expected = wanted[row["model"]][[1.0, 2.0].index(float(row["guidance_scale"]))]
            np.testing.assert_allclose(found, expected, atol=1 / 255)


@pytest.mark.parametrize(("lengths", "message"), [("0.9", "between 0 and 0.28"), ("long", "--ema-lengths")])
def test_lengths_that_cannot_be(run, tmp_path, capsys, lengths, message):
    assert main(["sweep", str(run), "--ema-lengths", lengths, "--out", str(tmp_path / "new")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
