"""Networks of others from the user's files: names, versions, and what is refused."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from test_volume_backbones import medical_state

from brain_diffusion_jax.api.extractors import extractors
from brain_diffusion_jax.conversion import torch_files
from brain_diffusion_jax.errors import InputError


def test_medicalnet_has_its_depth_and_the_hash_of_its_file_in_its_names(tmp_path):
    path = torch_files.write_state(tmp_path / "resnet_10.safetensors", medical_state(10, 1 / 64))
    (found,) = extractors(medicalnet=path)
    checksum = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    assert (found.name, found.version) == ("medicalnet10", f"MedicalNet ResNet-10 sha256 {checksum}")
    assert found.spatial_dims == 3
    assert extractors() == []


def test_files_that_are_not_the_network_are_refused(tmp_path):
    path = torch_files.write_state(tmp_path / "other.safetensors", {"conv.weight": np.zeros((2, 1, 3), np.float32)})
    with pytest.raises(InputError, match="a MedicalNet ResNet-10, 18, 34, 50"):
        extractors(medicalnet=path)
    with pytest.raises(InputError, match="no such file"):
        extractors(medicalnet=tmp_path / "none.pth")
