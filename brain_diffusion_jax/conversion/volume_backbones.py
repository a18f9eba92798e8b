"""State dicts of MedicalNet and SFCN to our variables: by name, all of them or none.

MedicalNet: github.com/Tencent/MedicalNet; SFCN: github.com/ha-ha-ha-han/UKBiobank_deep_pretrain. Both MIT.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from brain_diffusion_jax import files
from brain_diffusion_jax.conversion import placing, torch_files
from brain_diffusion_jax.conversion.torch_files import State
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.models.age_config import AgeNetworkConfig
from brain_diffusion_jax.models.backbones.medicalnet import DEPTHS, MedicalNet
from brain_diffusion_jax.models.deep_brain_net import AgeNetwork, make_age_network

_LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
# The published age model: 40 bins of a year from 42 to 82.
SFCN_AGE = dict(backbone="sfcn", width=1.0, dense=(), bins=40, bin_low=42.5, bin_high=81.5, norm_eps=1e-5)


def _weights(state: State) -> State:
    """Without "module." of DataParallel, and without the counters that batch norms keep."""
    bare = {name.removeprefix("module."): array for name, array in state.items()}
    return {name: array for name, array in bare.items() if not name.endswith("num_batches_tracked")}


def _placed(
    state: State, network: nn.Module, shape: tuple[int, ...], rename: Callable[[str], str], where: object
) -> dict[str, Any]:
    shapes = placing.shapes_of(network.init, jnp.zeros(shape))
    places = {f"{rename('.'.join(path[1:-1]))}.{_LEAVES[path[-1]]}": path for path in shapes}
    return placing.place(state, places, shapes, where, type(network).__name__)


def medicalnet(state: State, where: object = "state dict") -> tuple[MedicalNet, dict[str, Any]]:
    """(network, variables) of a state dict of a MedicalNet ResNet-10, 18, 34 or 50; a segmentation head is left out.

    Raises InputError naming the keys that do not fit.
    """
    state = {name: array for name, array in _weights(state).items() if not name.startswith("conv_seg.")}

    def blocks(stage: int) -> int:
        return len({m[1] for name in state if (m := re.match(rf"layer{stage}\.(\d+)\.", name))})

    found = (
        tuple(blocks(stage) for stage in (1, 2, 3, 4)),
        any(name.endswith(".conv3.weight") for name in state),
        any(".downsample.0." in name for name in state),
    )
    depth = next((depth for depth, known in DEPTHS.items() if known == found), None)
    if depth is None or "conv1.weight" not in state:
        kind = f"blocks {found[0]}, {'with' if found[1] else 'no'} conv3, {'with' if found[2] else 'no'} downsample.0"
        raise InputError(where, "keys", kind, f"a MedicalNet ResNet-{', '.join(map(str, DEPTHS))}")
    network = MedicalNet(depth, state["conv1.weight"].shape[0] / 64)

    def rename(path: str) -> str:
        return re.sub(r"^(layer\d)_(\d+)_", r"\1.\2.", path).replace("downsample_", "downsample.")

    return network, _placed(state, network, (1, 16, 16, 16, 1), rename, where)


def read_medicalnet(path: str | Path) -> tuple[MedicalNet, dict[str, Any], str]:
    """`medicalnet` of a weights file, such as resnet_50_23dataset.pth, and a version text with the file's hash.

    Raises InputError for a missing file, another network, and tensors that do not fit.
    """
    state, _ = torch_files.read_weights(path)
    network, variables = medicalnet(state, path)
    return network, variables, f"MedicalNet ResNet-{network.depth} sha256 {files.sha256(path)[:8]}"


def sfcn(state: State, where: object = "state dict", **settings: Any) -> tuple[AgeNetwork, dict[str, Any]]:
    """(network, variables) of a state dict of SFCN. settings: of AgeNetworkConfig, else those of the age model.

    The classifier becomes the output layer of an AgeNetwork: a convolution of size 1 after the mean over space.
    Raises InputError naming the keys that do not fit.
    """
    state = _weights(state)
    convolution = "classifier.conv_6.weight"
    names = [f"feature_extractor.conv_{i}.0.weight" for i in range(6)]
    absent = [name for name in (convolution, *names) if name not in state]
    if absent:
        raise InputError(where, "keys", f"no {', '.join(absent)}", "the state dict of SFCN")
    head = state[convolution]
    state = {**state, convolution: head.reshape(head.shape[:2])}
    widths = tuple(state[name].shape[0] for name in names)
    given: dict[str, Any] = {**SFCN_AGE, "backbone_options": {"published": widths}, **settings}
    if given["bins"] != head.shape[0]:
        raise InputError(where, convolution, f"{head.shape[0]} outputs", f"bins={given['bins']} (give bins otherwise)")
    network = make_age_network(**{f: given[f] for f in AgeNetworkConfig.__dataclass_fields__ if f in given})

    def rename(path: str) -> str:
        path = re.sub(r"^trunk\.conv_(\d)$", r"feature_extractor.conv_\1.0", path)
        path = re.sub(r"^trunk\.norm_(\d)$", r"feature_extractor.conv_\1.1", path)
        return path.replace("output", "classifier.conv_6")

    return network, _placed(state, network, (1, 32, 32, 32, 1), rename, where)
