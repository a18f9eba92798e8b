"""MedicalNet and SFCN against torch modules written here from their papers, and what does not fit."""

from __future__ import annotations

import re

import jax
import numpy as np
import pytest
from flax import traverse_util

from brain_diffusion_jax.conversion import volume_backbones
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.models.backbones.medicalnet import DEPTHS, MedicalNet, prepare_input
from tests.models.random_weights import cheaply, randomised


def torch_state(module, *inputs, layer, leaf=None):
    """A state dict of a network of ours with random weights, by a rule from our layers' names to theirs."""
    leaves = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var", "bias": "bias"}
    state, variables = {}, randomised(module, *inputs)
    for path, array in traverse_util.flatten_dict(variables).items():
        name = f"{layer('.'.join(path[1:-1]))}.{leaves[path[-1]]}"
        array = np.abs(array) + 0.5 if path[-1] == "var" else array
        state[name] = np.moveaxis(array, (-1, -2), (0, 1)) if path[-1] == "kernel" else array
    return state


def medical_layer(path: str) -> str:
    path = re.sub(r"^(layer\d)_(\d+)_(conv|bn|downsample)", r"module.\1.\2.\3", path)
    return path.replace("downsample_", "downsample.") if path.startswith("module") else f"module.{path}"


def medical_state(depth: int, width: float = 1 / 16):
    x = np.zeros((1, 16, 16, 16, 1), np.float32)
    return torch_state(MedicalNet(depth, width), x, layer=medical_layer)


def torch_medicalnet(state, depth: int):
    """The forward pass of the paper's network on a state dict, in torch."""
    import torch
    from torch.nn import functional as f

    blocks, bottleneck, weighted = DEPTHS[depth]
    w = {k.removeprefix("module."): torch.from_numpy(np.ascontiguousarray(v)) for k, v in state.items()}

    def norm(x, name):
        values = (w[f"{name}.{k}"] for k in ("running_mean", "running_var", "weight", "bias"))
        return f.batch_norm(x, *values, eps=1e-5)

    def forward(x):
        x = f.relu(norm(f.conv3d(x, w["conv1.weight"], stride=2, padding=3), "bn1"))
        x = f.max_pool3d(x, 3, 2, 1)
        for stage, (stride, dilation) in enumerate(((1, 1), (2, 1), (1, 2), (1, 4)), start=1):
            for index in range(blocks[stage - 1]):
                name, step = f"layer{stage}.{index}", stride if index == 0 else 1
                atrous = dict(stride=step, padding=dilation, dilation=dilation)
                if bottleneck:
                    y = f.relu(norm(f.conv3d(x, w[f"{name}.conv1.weight"]), f"{name}.bn1"))
                    y = f.relu(norm(f.conv3d(y, w[f"{name}.conv2.weight"], **atrous), f"{name}.bn2"))
                    y = norm(f.conv3d(y, w[f"{name}.conv3.weight"]), f"{name}.bn3")
                else:
                    y = f.relu(norm(f.conv3d(x, w[f"{name}.conv1.weight"], **atrous), f"{name}.bn1"))
                    y = f.conv3d(y, w[f"{name}.conv2.weight"], padding=dilation, dilation=dilation)
                    y = norm(y, f"{name}.bn2")
                if x.shape[1] != y.shape[1] or step > 1:
                    if weighted:
                        x = norm(f.conv3d(x, w[f"{name}.downsample.0.weight"], stride=step), f"{name}.downsample.1")
                    else:
                        x = f.avg_pool3d(x, 1, step)
                        x = torch.cat([x, torch.zeros(x.shape[0], y.shape[1] - x.shape[1], *x.shape[2:])], 1)
                x = f.relu(x + y)
        return x

    return forward


@pytest.mark.parity
@pytest.mark.parametrize("depth", [10, 18, 34, 50])
def test_medicalnet_is_torchs(depth):
    torch = pytest.importorskip("torch")
    state = medical_state(depth)
    x = np.random.default_rng(0).standard_normal((1, 17, 20, 18, 1)).astype(np.float32)
    network, variables = volume_backbones.medicalnet(state)
    assert network == MedicalNet(depth, 1 / 16)
    got = cheaply(network.apply, variables, x)
    assert len(got) == 4
    with torch.no_grad():
        want = torch_medicalnet(state, depth)(torch.from_numpy(np.moveaxis(x, -1, 1).copy())).numpy()
    assert want.std() > 1e-3
    np.testing.assert_allclose(np.moveaxis(np.asarray(got[-1]), -1, 1), want, atol=1e-4 * np.abs(want).max())


def test_the_depth_is_found_and_a_segmentation_head_left_out():
    for depth in (34, 50):
        state = medical_state(depth)
        state |= {"module.conv_seg.0.weight": np.zeros(3), "module.bn1.num_batches_tracked": 1}
        assert volume_backbones.medicalnet(state)[0].depth == depth
    broken = {**state, "module.layer2.0.bn1.weight": np.zeros(3, np.float32)}
    with pytest.raises(InputError, match=r"misshapen layer2\.0\.bn1\.weight"):
        volume_backbones.medicalnet(broken)
    del broken["module.layer3.1.conv3.weight"]
    with pytest.raises(InputError, match=r"missing layer3\.1\.conv3\.weight"):
        volume_backbones.medicalnet(broken)
    with pytest.raises(InputError, match="a MedicalNet ResNet-10, 18, 34, 50"):
        volume_backbones.medicalnet({k: v for k, v in state.items() if "layer4" not in k})
    with pytest.raises(InputError, match="depth: found 12"):
        jax.eval_shape(MedicalNet(12).init, jax.random.key(0), np.zeros((1, 16, 16, 16, 1)))


def test_inputs_have_mean_0_and_deviation_1_each():
    x = np.random.default_rng(0).uniform(size=(2, 4, 5, 6, 1)).astype(np.float32)
    x = prepare_input(np.concatenate([x[:1] + 3, 9 * x[1:]]))
    np.testing.assert_allclose(x.mean((1, 2, 3, 4)), 0, atol=1e-4)
    np.testing.assert_allclose(x.std((1, 2, 3, 4)), 1, atol=1e-4)


WIDTHS = (2, 3, 4, 5, 4, 3)


def sfcn_state():
    rng, state, channels = np.random.default_rng(0), {}, 1
    for i, width in enumerate(WIDTHS):
        kernel = (3,) * 3 if i < 5 else (1,) * 3
        layer = f"module.feature_extractor.conv_{i}"
        state[f"{layer}.0.weight"] = (
            rng.standard_normal((width, channels, *kernel)) / (channels * kernel[0] ** 3) ** 0.5
        )
        state[f"{layer}.0.bias"] = 0.2 * rng.standard_normal(width)
        state |= {f"{layer}.1.{k}": 0.2 * rng.standard_normal(width) for k in ("bias", "running_mean")}
        state |= {f"{layer}.1.{k}": rng.uniform(0.5, 1.5, width) for k in ("weight", "running_var")}
        state[f"{layer}.1.num_batches_tracked"] = np.asarray(7)
        channels = width
    state["module.classifier.conv_6.weight"] = rng.standard_normal((40, channels, 1, 1, 1))
    state["module.classifier.conv_6.bias"] = rng.standard_normal(40)
    return {k: v.astype(np.float32) for k, v in state.items()}


@pytest.mark.parity
def test_sfcn_is_torchs():
    torch = pytest.importorskip("torch")
    from torch.nn import functional as f

    state = sfcn_state()
    network, variables = volume_backbones.sfcn(state)
    x = np.random.default_rng(1).uniform(size=(2, 33, 40, 64, 1)).astype(np.float32)
    w = {k.removeprefix("module."): torch.from_numpy(v) for k, v in state.items()}
    with torch.no_grad():
        y = torch.from_numpy(np.moveaxis(x, -1, 1).copy())
        y = y / y.mean((1, 2, 3, 4), keepdim=True)
        for i in range(6):
            layer = f"feature_extractor.conv_{i}"
            y = f.conv3d(y, w[f"{layer}.0.weight"], w[f"{layer}.0.bias"], padding=1 if i < 5 else 0)
            y = f.batch_norm(y, *(w[f"{layer}.1.{k}"] for k in ("running_mean", "running_var", "weight", "bias")))
            y = f.relu(f.max_pool3d(y, 2) if i < 5 else y)
        y = f.avg_pool3d(y, y.shape[2:])
        logits = f.conv3d(y, w["classifier.conv_6.weight"], w["classifier.conv_6.bias"])[:, :, 0, 0, 0]
        years = (f.softmax(logits, 1) @ torch.linspace(42.5, 81.5, 40)).numpy()
    raw, ages = cheaply(lambda v, x: (network.apply(v, x, method="raw"), network.apply(v, x)), variables, x)
    np.testing.assert_allclose(raw, logits.numpy(), atol=1e-4 * np.abs(logits.numpy()).max())
    np.testing.assert_allclose(ages, years, atol=1e-3)


def test_what_sfcn_does_not_fit_is_named():
    state = sfcn_state()
    with pytest.raises(InputError, match=r"no feature_extractor\.conv_3\.0\.weight"):
        volume_backbones.sfcn({k: v for k, v in state.items() if "conv_3.0" not in k})
    with pytest.raises(InputError, match=r"classifier\.conv_6\.weight: found 40 outputs"):
        volume_backbones.sfcn(state, bins=2)
    with pytest.raises(InputError, match=r"left over more"):
        volume_backbones.sfcn({**state, "more": np.zeros(1, np.float32)})
