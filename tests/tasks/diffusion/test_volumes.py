"""Diffusion of volumes without a codec: the same command as for slices, on patches of voxels or their wavelets."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
import small_shards
import tiny_runs

from brain_diffusion_jax import api
from brain_diffusion_jax import config as configs
from brain_diffusion_jax.api.samples import write_samples
from brain_diffusion_jax.contract import Contract
from brain_diffusion_jax.tasks.train import train

SIZE = (8, 9, 7)
OWN = [line for line in tiny_runs.MODEL if line.split(".")[0] in ("model", "conditioning", "sample", "diffusion")]


@pytest.fixture(scope="module", params=["pixels", "haar"])
def trained(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("volumes")
    shards = small_shards.write_blobs(folder / "shards", SIZE)
    form = [f"model.patches={request.param}", "model.patch_size=2"]
    changes = [*OWN, *form, "data.batch_size=4", "train.num_steps=2", f"data.shards={shards}"]
    config = configs.apply_overrides(configs.base_config("diffusion"), changes)
    assert train(config, folder / "run", show_progress=False).step == 2
    return folder / "run", Contract.load(shards)


def test_it_trains_with_the_settings_of_slices_and_samples_volumes(trained):
    model = api.load(trained[0], "diffusion")
    assert (model.config.model.spatial_dims, model.config.model.patch_size) == (3, 2)
    images = model.sample([{"age": 40.0, "sex": "M"}, {}], 2.0)
    assert images.shape == (2, *SIZE, 1)
    assert 0 <= images.min() <= images.max() <= 1
    assert model.sample([]).shape == (0, *SIZE, 1)


def test_volumes_are_written_where_they_lie(trained, tmp_path):
    run, contract = trained
    model = api.load(run)
    write_samples(model, [{"age": 40.0}], model.sampling(num_steps=1), tmp_path / "out")
    written = nibabel.load(tmp_path / "out" / "nifti" / "000000.nii.gz")
    assert written.shape == SIZE
    np.testing.assert_array_equal(written.affine, contract.grid.affine)


def test_positions_of_a_longer_list_give_its_images(trained):
    model = api.load(trained[0])
    asked = [{"age": 25.0}, {"age": 45.0}, {"age": 65.0}]
    cells = [model.sampling(num_steps=1).config(5)]
    whole = np.concatenate([x[0] for _, x in model.sample_configs(asked, cells)])
    part = np.concatenate([x[0] for _, x in model.sample_configs(asked[::2], cells, positions=[0, 2])])
    np.testing.assert_allclose(part, whole[::2], atol=1e-5)
