"""pytorch-fid's weights file is verified and read."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from inception_state import random_state

from brain_diffusion_jax.conversion import inception as conversion
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation.probes.features import extract, inception_extractor


@pytest.fixture(scope="module")
def state():
    return random_state()


@pytest.fixture(scope="module")
def variables(state):
    return conversion.convert(state)


def test_names_are_those_of_the_published_file(state):
    """Spot checks of pytorch-fid's keys, and its number of tensors: 94 convolutions with 4 norm vectors."""
    for name, shape in {
        "Conv2d_1a_3x3.conv.weight": (32, 3, 3, 3),
        "Mixed_5b.branch5x5_2.conv.weight": (64, 48, 5, 5),
        "Mixed_6a.branch3x3dbl_3.bn.running_var": (96,),
        "Mixed_6b.branch7x7dbl_2.conv.weight": (128, 128, 7, 1),
        "Mixed_6e.branch7x7_2.conv.weight": (192, 192, 1, 7),
        "Mixed_7a.branch7x7x3_4.conv.weight": (192, 192, 3, 3),
        "Mixed_7b.branch3x3_2a.conv.weight": (384, 384, 1, 3),
        "Mixed_7c.branch_pool.bn.bias": (192,),
    }.items():
        assert state[name].shape == shape
    assert sum(name.endswith("conv.weight") for name in state) == 94


@pytest.mark.parity
def test_file_is_verified_and_read(state, variables, tmp_path):
    import torch

    path = tmp_path / conversion.FILE_NAME
    torch.save({name: torch.as_tensor(array) for name, array in state.items()}, path)
    with pytest.raises(InputError, match=r"sha256: found .*expected 6726825d"):
        conversion.read_weights(path)
    loaded, version = conversion.read_weights(path, sha256_start=None)
    assert "sha256" in version
    jax.tree.map(np.testing.assert_array_equal, loaded, variables)
    features = extract(inception_extractor(loaded, version, 64), np.zeros((3, 20, 20), np.uint8), batch_size=2)
    assert (features.name, features.values.shape) == ("inception-64", (3, 64))
    with pytest.raises(InputError, match="one of"):
        inception_extractor(loaded, version, 100)


def test_bad_files_are_refused(state, tmp_path):
    with pytest.raises(InputError, match="no such file"):
        conversion.read_weights(tmp_path / "none.pth")
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(InputError, match="sha256"):
        conversion.read_weights(tmp_path / "text.pth")
    short = {name: array for name, array in state.items() if name != "Mixed_6c.branch1x1.bn.bias"}
    with pytest.raises(InputError, match=r"Mixed_6c\.branch1x1\.bn\.bias: found missing"):
        conversion.convert(short)
    wrong = {**state, "Mixed_6c.branch1x1.conv.weight": np.zeros((192, 700, 1, 1))}
    with pytest.raises(InputError, match=r"Mixed_6c\.branch1x1\.conv\.weight: found \(1, 1, 700, 192\)"):
        conversion.convert(wrong)
