"""Colour images and volumes: folders and sweeps hold them; what needs grey slices says what it got."""

from __future__ import annotations

import numpy as np
import pytest
import tiny_runs
from PIL import Image

from brain_diffusion_jax import api
from brain_diffusion_jax.api import edits, samples, scan_ages, sweeps, volumes
from brain_diffusion_jax.contract import Contract, Grid, Intensity
from brain_diffusion_jax.covariates import Schema
from brain_diffusion_jax.data.sample_folder import read_pictures
from brain_diffusion_jax.errors import InputError

SCHEMA = Schema.from_json([{"name": "age", "unit": "years", "low": 18, "high": 96}])
AFFINE = ((20.0, 0, 0, -70.0), (0, 20.0, 0, -70.0), (0, 0, 20.0, -60.0), (0, 0, 0, 1.0))
FIXED = Intensity("fixed", 0.0, 200.0, "uint8")
COLOUR = Contract(SCHEMA, (8, 6), kind="pictures", channels=3)
VOLUMES = Contract(SCHEMA, (8, 6, 4), kind="volumes", grid=Grid("box", (8, 6, 4), AFFINE), intensity=FIXED)
SMALL = ["model.channels=(4,)", "model.num_res_blocks=1", "model.attention_levels=False", "model.num_head_channels=4"]
SMALL += ["model.norm_num_groups=2", "model.context_dim=4", "conditioning.width=4", "sample.num_steps=2"]


@pytest.fixture(scope="module", params=[COLOUR, VOLUMES], ids=["colour", "volumes"])
def model(request, tmp_path_factory):
    contract = request.param
    shape = {"spatial_dims": len(contract.image_size), "in_channels": contract.channels}
    shape["out_channels"] = contract.channels
    more = [f"model.{name}={value}" for name, value in shape.items()]
    run = tiny_runs.diffusion_run(tmp_path_factory.mktemp("shapes") / "run", *SMALL, *more, given=contract)
    return api.load(run, "diffusion")


def test_a_folder_of_samples_and_a_sweep(model, tmp_path):
    wanted = [{"age": 30.0}, {"age": 60.0}]
    contract = model.contract
    folder = samples.write_samples(model, wanted, model.sampling(), tmp_path / "samples")
    images = read_pictures(folder.path)[0]
    assert images.shape == (2, *contract.shape)
    rows, cols = (6, 8) if contract.kind == "volumes" else (8, 6)
    assert Image.open(folder.path / "grid.png").size == (2 * cols + 1, rows)
    assert Image.open(folder.path / "grid.png").mode == ("RGB" if contract.channels == 3 else "L")
    configs = sweeps.configs_of(model, {"guidance_scale": (1.0, 3.0)})
    found = sweeps.sweep(model, wanted, configs, tmp_path / "sweep")
    assert [row["pictures"] for row in found.table] == [2, 2]
    assert Image.open(found.grid).size == (2 * cols + 1, 2 * rows + 1)


def test_what_needs_grey_slices_says_what_it_got(model, tmp_path):
    size = "x".join(map(str, model.contract.image_size))
    found = f"{model.contract.kind} of {size}, {model.contract.channels} channels; expected grey slices"
    subject, change = edits.Subject("scan.nii", {"age": 30}), edits.Change("age", ["60"])
    calls = [lambda: volumes.slice_range(model, None), lambda: scan_ages.Preparing.of(model)]
    if model.contract.kind != "volumes":
        calls.append(lambda: edits.write_edits(model, subject, change, edits.EditSettings(), tmp_path / "edits"))
    for call in calls:
        with pytest.raises(InputError, match=found):
            call()
    assert not np.any(list(tmp_path.iterdir()))
