"""MONAI state dicts: names, files, what is inferred, what is asked, and that nothing is ever half loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from flax import traverse_util

from brain_diffusion_jax.conversion import monai, torch_files
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.models import factory

MODEL: dict[str, Any] = dict(
    spatial_dims=2,
    in_channels=2,
    out_channels=1,
    channels=(4, 8),
    num_res_blocks=(1, 2),
    attention_levels=(False, True),
    num_head_channels=(0, 4),
    norm_num_groups=2,
    norm_eps=1e-6,
    resblock_updown=True,
    transformer_num_layers=2,
    context_dim=3,
    num_class_embeds=None,
    upcast_attention=False,
    dropout_cattn=0.0,
    include_fc=True,
    use_combined_linear=False,
    patch_size=1,
    coordinates=0,
    scan_blocks=False,
    dtype="float32",
    remat="none",
)
ANSWERS = {"num_head_channels": (0, 4), "norm_num_groups": 2}


def _params(model: dict[str, Any]) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    shapes = monai.expected_shapes(factory.unet(model))
    return traverse_util.unflatten_dict({p: rng.standard_normal(s).astype(np.float32) for p, s in shapes.items()})


@pytest.fixture(scope="module")
def params() -> dict[str, Any]:
    return _params(MODEL)


@pytest.fixture(scope="module")
def state(params: dict[str, Any]) -> dict[str, np.ndarray]:
    return monai.to_monai(params, MODEL)


def _same(a: Any, b: Any) -> None:
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.mark.parametrize("names", ["new", "old"])
def test_there_and_back_with_the_architecture_inferred(params, names: str) -> None:
    back = monai.from_monai(monai.to_monai(params, MODEL, names=names), **ANSWERS)
    _same(back.params, params)
    assert back.model == MODEL
    assert any("norm_eps" in line for line in back.assumed)


@pytest.mark.parametrize(
    "change",
    [
        {"spatial_dims": 3, "context_dim": None, "transformer_num_layers": 1, "use_combined_linear": True},
        {"channels": (4,), "num_res_blocks": (2,), "attention_levels": (False,), "num_head_channels": (2,)},
        {"include_fc": False, "num_class_embeds": 5, "resblock_updown": False, "num_head_channels": (0, 3)},
    ],
)
def test_other_architectures_are_inferred_too(change: dict[str, Any]) -> None:
    model = {**MODEL, **change}
    if len(model["channels"]) == 1:
        model["resblock_updown"] = False  # one level never changes resolution: the file cannot tell
    back = monai.from_monai(
        monai.to_monai(_params(model), model), num_head_channels=model["num_head_channels"], norm_num_groups=2
    )
    assert back.model == model


def test_what_shapes_do_not_tell_is_asked_with_its_choices(state) -> None:
    with pytest.raises(InputError) as caught:
        monai.from_monai(state, where="unet.pth")
    for words in (
        "unet.pth",
        "--head-channels",
        "0,8",
        "level 1: 1, 2, 4, 8",
        "--norm-groups",
        "1, 2, 4",
        "32 in MONAI",
    ):
        assert words in str(caught.value)
    with pytest.raises(InputError, match="num_head_channels"):
        monai.from_monai(state, norm_num_groups=2)
    with pytest.raises(InputError, match="norm_num_groups"):
        monai.from_monai(state, num_head_channels=(0, 4), norm_num_groups=3)


def test_every_key_that_does_not_fit_is_listed_and_nothing_is_converted(state) -> None:
    broken = dict(state)
    del broken["down_blocks.1.resnets.1.conv2.conv.bias"]
    broken["up_blocks.0.resnets.0.norm1.weight"] = np.zeros(5, np.float32)
    broken["ema.decay"] = np.zeros((), np.float32)
    with pytest.raises(InputError) as caught:
        monai.from_monai(broken, **ANSWERS)
    message = str(caught.value)
    assert "3 that do not fit" in message
    assert "missing down_blocks.1.resnets.1.conv2.conv.bias" in message
    assert "misshapen up_blocks.0.resnets.0.norm1.weight: (5,), not (16,)" in message
    assert "left over ema.decay" in message
    with pytest.raises(InputError, match="DiffusionModelUNet"):
        monai.from_monai({"encoder.weight": np.zeros(3)}, **ANSWERS)
    old = {"middle_block.attention.transformer_blocks.0.attn1.to_out.0.bias": np.zeros(8, np.float32)}
    with pytest.raises(InputError, match="old and new names"):
        monai.from_monai({**state, **old}, **ANSWERS)


def test_what_monai_cannot_be_told_is_refused(params) -> None:
    with pytest.raises(InputError, match="patch_size"):
        monai.to_monai(params, {**MODEL, "patch_size": 2})
    with pytest.raises(InputError, match="parameters"):
        monai.to_monai({**params, "extra": {"kernel": np.zeros(1)}}, MODEL)
    combined = {**MODEL, "use_combined_linear": True}
    with pytest.raises(InputError, match="GenerativeModels"):
        monai.to_monai(_params(combined), combined, names="old")


def test_safetensors_files_round_trip_from_views_and_halves(tmp_path: Path, state) -> None:
    views = {name: np.asfortranarray(array) for name, array in state.items()}
    path = torch_files.write_state(tmp_path / "unet.safetensors", views)
    found = torch_files.read_state(path)
    assert found.keys() == state.keys()
    assert all(np.array_equal(found[name], state[name]) for name in state)
    assert [p.name for p in tmp_path.iterdir()] == ["unet.safetensors"]

    torch_files.write_state(tmp_path / "half.safetensors", {n: a.astype(np.float16) for n, a in state.items()})
    assert torch_files.read_state(tmp_path / "half.safetensors")["conv_in.conv.weight"].dtype == np.float32


def test_prefixes(tmp_path: Path, state) -> None:
    for prefix in ("module.", "_orig_mod.module."):
        path = torch_files.write_state(tmp_path / "w.safetensors", {prefix + n: a for n, a in state.items()})
        assert torch_files.read_state(path).keys() == state.keys()
    both = {"unet." + n: a for n, a in state.items()} | {"autoencoder.conv.weight": np.zeros(2, np.float32)}
    path = torch_files.write_state(tmp_path / "both.safetensors", both)
    assert torch_files.read_state(path).keys() == both.keys()  # two networks: nothing is taken off silently
    assert torch_files.read_state(path, prefix="unet.").keys() == state.keys()
    with pytest.raises(InputError, match=r"autoencoder\., unet\."):
        torch_files.read_state(path, prefix="diffusion.")


def test_bad_files(tmp_path: Path) -> None:
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00{}")
    for path, words in (
        (tmp_path / "absent.pth", "no such file"),
        (broken, "unreadable"),
        (Path(__file__), "suffix"),
    ):
        with pytest.raises(InputError, match=words):
            torch_files.read_state(path)


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
        found = torch_files.read_state(tmp_path / f"{name}.pth")
        assert found.keys() == state.keys()
        tolerance = 2**-8 if name == "half" else 0.0
        assert all(np.allclose(found[n], state[n], rtol=tolerance, atol=0) for n in state)
    written = torch_files.write_state(tmp_path / "ours.pt", state)
    assert all(np.array_equal(torch.load(written, weights_only=True)[n].numpy(), state[n]) for n in state)

    torch.save({"model": _Bomb()}, tmp_path / "bomb.pth")
    with pytest.raises(InputError, match="could run code"):
        torch_files.read_state(tmp_path / "bomb.pth")
    assert not (tmp_path / "bomb-went-off").exists()
    whole = (tmp_path / "bare.pth").read_bytes()
    (tmp_path / "cut.pth").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="unreadable"):
        torch_files.read_state(tmp_path / "cut.pth")
    torch.save({"epoch": 3, "net": tensors}, tmp_path / "other.pth")
    with pytest.raises(InputError, match=r"epoch.*net.*model_state_dict"):
        torch_files.read_state(tmp_path / "other.pth")


def test_weights_that_are_no_numbers_are_refused(params, state) -> None:
    for bad in (np.nan, np.inf):
        broken = {**state, "out.2.conv.bias": np.array([bad], np.float32)}
        with pytest.raises(InputError, match=r"out\.2\.conv\.bias: found 1 of 1 numbers NaN or infinite"):
            monai.from_monai(broken, **ANSWERS)
        with pytest.raises(InputError, match=r"conv_out\.bias"):
            monai.to_monai({**params, "conv_out": {**params["conv_out"], "bias": np.array([bad])}}, MODEL)


def test_types_that_numpy_lacks_are_named(tmp_path: Path) -> None:
    head = b'{"a.b":{"dtype":"F8_E4M3","shape":[2],"data_offsets":[0,2]}}'
    head += b" " * (-len(head) % 8)
    (tmp_path / "f8.safetensors").write_bytes(len(head).to_bytes(8, "little") + head + b"\x00\x01")
    with pytest.raises(InputError, match=r"a\.b: found numbers of type F8_E4M3"):
        torch_files.read_state(tmp_path / "f8.safetensors")
    head = head.replace(b"F8_E4M3", b"BF16").replace(b"[2]", b"[1]")
    (tmp_path / "b.safetensors").write_bytes(len(head).to_bytes(8, "little") + head + b"\x80\x3f")
    assert torch_files.read_state(tmp_path / "b.safetensors")["a.b"] == np.float32([1.0])


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
            torch_files.read_state(file)
        assert words in str(caught.value)

    torch.save({"state_dict": tensors, "best": np.float64(3.0)}, file)
    with pytest.raises(InputError) as caught:
        torch_files.read_state(file)
    assert "multiarray.scalar, an object other than tensors" in str(caught.value)
    assert "\x1b" not in str(caught.value)

    raw = {n: t + 1 for n, t in tensors.items()}
    torch.save({"unet_state_dict": raw, "ema_state_dict": tensors, "epoch": 3}, file)
    found, told = torch_files.read_weights(file)
    assert np.array_equal(found["out.2.conv.bias"], state["out.2.conv.bias"] + 1)
    assert told == "weights: unet_state_dict of the file (not ema_state_dict, which the file holds too: --inside)"
    found, told = torch_files.read_weights(file, inside="ema_state_dict")
    assert np.array_equal(found["out.2.conv.bias"], state["out.2.conv.bias"])
    with pytest.raises(InputError, match="one of unet_state_dict, ema_state_dict"):
        torch_files.read_weights(file, inside="model")
