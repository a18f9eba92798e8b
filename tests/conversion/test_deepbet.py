"""deepbet's networks against the TorchScript that its package installs, and what does not fit."""

from __future__ import annotations

from importlib import metadata

import jax
import numpy as np
import pytest

from brain_diffusion_jax.conversion import deepbet, torch_files
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.models.backbones.deepbet import DeepbetEncoder, prepare_input
from tests.models.random_weights import QUICK


def installed() -> bool:
    try:
        return bool(metadata.version("deepbet"))
    except metadata.PackageNotFoundError:
        return False


def normalised(x):
    """The input of the package's networks, of a torch tensor [x, y, z]."""
    low, high = x.quantile(0.005), x.quantile(0.995)
    x = ((x - low) / (high - low)).clamp(0, 1)
    return 0.226 * (x - x.mean()) / x.std() + 0.449


@pytest.mark.parity
@pytest.mark.skipif(not installed(), reason="the extra `deepbet` is not installed")
def test_every_stage_of_both_networks_is_torchs():
    torch = pytest.importorskip("torch")
    x = torch.from_numpy(np.random.default_rng(0).uniform(size=(20, 40, 34)).astype(np.float32))
    prepared = normalised(x)[None, ..., None].numpy()
    np.testing.assert_allclose(prepare_input(x[None, ..., None].numpy()), prepared, atol=2e-6)
    program = None
    for name in (deepbet.WHOLE_HEAD, deepbet.CLOSE):
        network, variables, version = deepbet.encoder(name, stages=4)
        assert f"deepbet {metadata.version('deepbet')} {name} sha256 " in version
        program = program or jax.jit(network.apply).lower(variables, prepared).compile(QUICK)
        theirs = torch.jit.load(str(deepbet.weights_file(name)[0]), map_location="cpu")
        relu = getattr(theirs.conv, "2")
        with torch.no_grad(), torch.jit.optimized_execution(False):
            y = theirs.init(relu, torch.from_numpy(prepared)[..., 0][:, None])
            for stage, mine in enumerate(program(variables, prepared)):
                y = getattr(theirs, f"down{stage}")(relu, y)
                assert y.std() > 0.5
                np.testing.assert_allclose(np.moveaxis(np.asarray(mine), -1, 1), y.numpy(), atol=1e-4)
    assert deepbet.encoder()[0] == DeepbetEncoder(3)


def linknet_state(stages: int = 4):
    """A state dict by the names of the package, with weights of zeros."""
    shapes = jax.eval_shape(DeepbetEncoder(stages).init, jax.random.key(0), np.zeros((1, 64, 8, 8, 1)))["params"]
    state = {"conv.0.bias": np.zeros(8, np.float32), "up0.conv1.0.weight": np.zeros((32, 128, 1, 1, 1), np.float32)}
    inner = {"conv1": "double_conv.0", "conv2": "double_conv.3", "shortcut": "downsample.0"}
    for layer, leaf in shapes.items():
        parts = layer.split("_")
        name = f"{parts[0]}.{parts[1]}.{inner[parts[2]]}.weight" if len(parts) > 1 else "init.0.weight"
        size = leaf["kernel"].shape
        state[name] = np.zeros((size[-1], size[-2], *size[:3]), np.float32)
    return state


def test_the_decoder_is_left_out_and_what_does_not_fit_is_named():
    state = linknet_state()
    network, variables = deepbet.convert(state, 2)
    assert {name.split("_")[0] for name in variables["params"]} == {"init", "down0", "down1"}
    assert network == DeepbetEncoder(2)
    kept = {name: array for name, array in state.items() if name != "down1.block1.downsample.0.weight"}
    with pytest.raises(InputError, match=r"missing down1\.block1\.downsample\.0\.weight"):
        deepbet.convert(kept)
    with pytest.raises(InputError, match=r"misshapen init\.0\.weight"):
        deepbet.convert({**state, "init.0.weight": np.zeros((16, 3, 7, 7, 7), np.float32)})


def test_without_the_package_the_way_to_install_it_is_said(monkeypatch):
    def nothing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(deepbet.metadata, "distribution", nothing)
    with pytest.raises(InputError, match=r"deepbet: package: found not installed.*brain-diffusion-jax\[deepbet\]"):
        deepbet.encoder()


@pytest.mark.parity
def test_a_file_that_is_no_torchscript_is_refused(tmp_path):
    pytest.importorskip("torch")
    (tmp_path / "model.pt").write_bytes(b"no archive")
    with pytest.raises(InputError, match=r"unreadable.*a TorchScript archive"):
        torch_files.read_torchscript(tmp_path / "model.pt", "pip install torch")
