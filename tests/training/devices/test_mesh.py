"""Meshes, and how arrays and batches are split over them."""

from __future__ import annotations

import pytest

from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.training.devices import mesh


def test_meshes_and_batches_that_do_not_fit():
    with pytest.raises(InputError, match=r"train\.fsdp: found 3; expected a divisor of the 1 devices"):
        mesh.make_mesh(-1, 3)
    with pytest.raises(InputError, match="found 5 x 1; expected 1 devices"):
        mesh.make_mesh(5, 1)
    with pytest.raises(InputError, match=r"data\.batch_size: found 12; expected a multiple of 16"):
        mesh.require_divisible(12, 8, 2, 1)
    with pytest.raises(InputError, match="jit or pmap"):
        mesh.make_layout("xmap")
    with pytest.raises(InputError, match="fsdp"):
        mesh.make_layout("pmap", fsdp=2)
    assert tuple(mesh.partition((3, 3, 64, 128), 8)) == (None, None, None, "fsdp")
    assert tuple(mesh.partition((3, 3, 256, 129), 8)) == (None, None, "fsdp")
    assert tuple(mesh.partition((512,), 8)) == ()
    assert tuple(mesh.partition((3, 3, 63, 129), 8)) == ()
