"""State dicts out of torch and safetensors files: whole, by prefix, and refused with the reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from brain_diffusion_jax.conversion import torch_files
from brain_diffusion_jax.errors import InputError


@pytest.fixture(scope="module")
def state() -> dict[str, np.ndarray]:
    """Arrays under names such as MONAI's: dots, and conv_in, by which a shared prefix is recognised."""
    shapes = {"conv_in.conv.weight": (4, 2, 3, 3), "conv_in.conv.bias": (4,), "out.2.conv.bias": (1,)}
    rng = np.random.default_rng(0)
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def read_state(path: Path, prefix: str | None = None) -> torch_files.State:
    """The arrays alone."""
    return torch_files.read_weights(path, prefix)[0]


def test_safetensors_files_round_trip_from_views_and_halves(tmp_path: Path, state) -> None:
    views = {name: np.asfortranarray(array) for name, array in state.items()}
    path = torch_files.write_state(tmp_path / "unet.safetensors", views)
    found = read_state(path)
    assert found.keys() == state.keys()
    assert all(np.array_equal(found[name], state[name]) for name in state)
    assert [p.name for p in tmp_path.iterdir()] == ["unet.safetensors"]

    torch_files.write_state(tmp_path / "half.safetensors", {n: a.astype(np.float16) for n, a in state.items()})
    assert read_state(tmp_path / "half.safetensors")["conv_in.conv.weight"].dtype == np.float32


def test_prefixes(tmp_path: Path, state) -> None:
    for prefix in ("module.", "_orig_mod.module."):
        path = torch_files.write_state(tmp_path / "w.safetensors", {prefix + n: a for n, a in state.items()})
        assert read_state(path).keys() == state.keys()
    both = {"unet." + n: a for n, a in state.items()} | {"autoencoder.conv.weight": np.zeros(2, np.float32)}
    path = torch_files.write_state(tmp_path / "both.safetensors", both)
    assert read_state(path).keys() == both.keys()  # two networks: nothing is taken off silently
    assert read_state(path, prefix="unet.").keys() == state.keys()
    with pytest.raises(InputError, match=r"autoencoder\., unet\."):
        read_state(path, prefix="diffusion.")


def test_bad_files(tmp_path: Path) -> None:
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00{}")
    for path, words in (
        (tmp_path / "absent.pth", "no such file"),
        (broken, "unreadable"),
        (Path(__file__), "suffix"),
    ):
        with pytest.raises(InputError, match=words):
            read_state(path)


class _Bomb:
    """What a hostile pickle does on loading."""

    def __reduce__(self):
        return (Path.touch, (Path("bomb-went-off"),))


@pytest.mark.parity
def test_torch_files(tmp_path: Path, state, monkeypatch) -> None:
    import torch

    monkeypatch.chdir(tmp_path)
    tensors = {n: torch.from_numpy(a) for n, a in state.items()}
    contents = {
        "bare": tensors,
        "model_state_dict": {"epoch": 3, "model_state_dict": tensors, "optimizer": {"lr": 1.0}},
        "state_dict": {"state_dict": {"module." + n: t for n, t in tensors.items()}},
        "half": {n: t.bfloat16() for n, t in tensors.items()},
    }
    for name, content in contents.items():
        torch.save(content, tmp_path / f"{name}.pth")
        found = read_state(tmp_path / f"{name}.pth")
        assert found.keys() == state.keys()
        tolerance = 2**-8 if name == "half" else 0.0
        assert all(np.allclose(found[n], state[n], rtol=tolerance, atol=0) for n in state)
    written = torch_files.write_state(tmp_path / "ours.pt", state)
    assert all(np.array_equal(torch.load(written, weights_only=True)[n].numpy(), state[n]) for n in state)

    torch.save({"model": _Bomb()}, tmp_path / "bomb.pth")
    with pytest.raises(InputError, match="could run code"):
        read_state(tmp_path / "bomb.pth")
    assert not (tmp_path / "bomb-went-off").exists()
    whole = (tmp_path / "bare.pth").read_bytes()
    (tmp_path / "cut.pth").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="unreadable"):
        read_state(tmp_path / "cut.pth")
    torch.save({"epoch": 3, "net": tensors}, tmp_path / "other.pth")
    with pytest.raises(InputError, match=r"epoch.*net.*model_state_dict"):
        read_state(tmp_path / "other.pth")


def test_types_that_numpy_lacks_are_named(tmp_path: Path) -> None:
    head = b'{"a.b":{"dtype":"F8_E4M3","shape":[2],"data_offsets":[0,2]}}'
    head += b" " * (-len(head) % 8)
    (tmp_path / "f8.safetensors").write_bytes(len(head).to_bytes(8, "little") + head + b"\x00\x01")
    with pytest.raises(InputError, match=r"a\.b: found numbers of type F8_E4M3"):
        read_state(tmp_path / "f8.safetensors")
    head = head.replace(b"F8_E4M3", b"BF16").replace(b"[2]", b"[1]")
    (tmp_path / "b.safetensors").write_bytes(len(head).to_bytes(8, "little") + head + b"\x80\x3f")
    assert read_state(tmp_path / "b.safetensors")["a.b"] == np.float32([1.0])


@pytest.mark.parity
def test_torch_files_hold_one_kind_of_tensor_and_say_which_was_taken(tmp_path: Path, state) -> None:
    import torch

    tensors = {n: torch.from_numpy(a) for n, a in state.items()}
    file = tmp_path / "w.pt"
    one = torch.ones(3)
    for value, words in (
        (torch.eye(3).to_sparse(), "x: found a tensor torch.sparse_coo of torch.float32"),
        (one.to(torch.float8_e4m3fn), "x: found a tensor of torch.float8_e4m3fn"),
        (one.to(torch.complex64), "torch.complex64"),
        (torch.ones(1).expand(1 << 20), "a view of"),
        (one.to("meta"), "meta"),
    ):
        torch.save({"x": value}, file)
        with pytest.raises(InputError) as caught:
            read_state(file)
        assert words in str(caught.value)

    torch.save({"state_dict": tensors, "best": np.float64(3.0)}, file)
    with pytest.raises(InputError) as caught:
        read_state(file)
    assert "multiarray.scalar, an object other than tensors" in str(caught.value)
    assert "\x1b" not in str(caught.value)

    raw = {n: t + 1 for n, t in tensors.items()}
    torch.save({"unet_state_dict": raw, "ema_state_dict": tensors, "epoch": 3}, file)
    found, note = torch_files.read_weights(file)
    assert np.array_equal(found["out.2.conv.bias"], state["out.2.conv.bias"] + 1)
    assert note == "weights: unet_state_dict of the file (not ema_state_dict, which the file holds too: --inside)"
    found, note = torch_files.read_weights(file, inside="ema_state_dict")
    assert np.array_equal(found["out.2.conv.bias"], state["out.2.conv.bias"])
    with pytest.raises(InputError, match="one of unet_state_dict, ema_state_dict"):
        torch_files.read_weights(file, inside="model")
