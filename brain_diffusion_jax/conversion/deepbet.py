"""The networks inside the registry package deepbet (MIT), as they are installed, to our variables.

The package itself is not imported: its metadata say where its TorchScript files lie, and torch reads them.
"""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path
from typing import Any

import jax.numpy as jnp

from brain_diffusion_jax import files
from brain_diffusion_jax.conversion import placing, torch_files
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.models.backbones.deepbet import DeepbetEncoder

INSTALL = 'pip install "brain-diffusion-jax[deepbet]"'
# The network that finds the head in a volume of 128 voxels an axis, about 2 mm; the other reads 256 an axis.
WHOLE_HEAD, CLOSE = "bbox_model.pt", "model.pt"


def weights_file(name: str = WHOLE_HEAD) -> tuple[Path, str]:
    """(where a network lies, version of the package). Raises InputError where the package is not installed."""
    try:
        package = metadata.distribution("deepbet")
    except metadata.PackageNotFoundError:
        raise InputError("deepbet", "package", "not installed", INSTALL) from None
    path = Path(str(package.locate_file(f"data/models/{name}")))
    if not path.is_file():
        raise InputError(path, "file", "no such file", f"{name} as deepbet 1.0 installs it; {INSTALL}")
    return path, package.version


def encoder(name: str = WHOLE_HEAD, stages: int = 3) -> tuple[DeepbetEncoder, dict[str, Any], str]:
    """(the first stages of the encoder, its variables, version text with the hash of the file).

    name: WHOLE_HEAD or CLOSE. Raises InputError where package or torch are not installed, and for other tensors.
    """
    path, version = weights_file(name)
    state = torch_files.read_torchscript(path, INSTALL)
    network, variables = convert(state, stages, path)
    return network, variables, f"deepbet {version} {name} sha256 {files.sha256(path)[:8]}"


def convert(
    state: torch_files.State, stages: int = 3, where: object = "state dict"
) -> tuple[DeepbetEncoder, dict[str, Any]]:
    """(network, variables) of a LinkNet's state dict; later stages and the decoder are left out."""
    network = DeepbetEncoder(stages)
    shapes = placing.shapes_of(network.init, jnp.zeros((1, 4 * 2**stages, 8, 8, 1)))
    ours = re.compile(rf"init\.|down[0-{stages - 1}]\.")
    state = {name: array for name, array in state.items() if ours.match(name)}
    places = {_their_name(path[1]): path for path in shapes}
    return network, placing.place(state, places, shapes, where, "LinkNet")


def _their_name(layer: str) -> str:
    """init -> init.0.weight; down1_block1_conv2 -> down1.block1.double_conv.3.weight."""
    inner = {"conv1": "double_conv.0", "conv2": "double_conv.3", "shortcut": "downsample.0"}
    stage, *rest = layer.split("_")
    return f"{stage}.{rest[0]}.{inner[rest[1]]}.weight" if rest else f"{stage}.0.weight"
