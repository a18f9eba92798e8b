"""Keras files of every layout give the same weights; what is no such file is refused with a list."""

from __future__ import annotations

import copy
import hashlib
import json
import shutil
import zipfile

import h5py
import numpy as np
import pytest

from brain_diffusion_jax.cli.main import main
from brain_diffusion_jax.conversion import keras_convert, keras_files
from brain_diffusion_jax.conversion.keras_convert import convert
from tests.conversion import keras_writer as writer


@pytest.fixture(scope="module")
def vgg():
    return writer.parts_of("vgg16")


LAYOUTS = {
    "keras 2.2 nested": dict(nested=True, as_bytes=True, optimizer=True),
    "keras 2.2.0, bare list": dict(nested=True, bare_list=True),
    "keras 2.x functional": dict(nested=False),
    "tf_keras nested": dict(nested=True, class_name="Functional", optimizer=True),
    "keras 3 h5": dict(nested=False, class_name="Functional", suffix=""),
    "names behind a scope": dict(nested=True, weight_prefix="base/"),
    "names say nothing": dict(nested=True, anonymous=True),
    "chunked attributes": dict(nested=True, chunk=5, as_bytes=True),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_gives_the_same_weights(name, vgg, tmp_path):
    variables, inner, top = copy.deepcopy(vgg)
    converted = convert(writer.write(tmp_path / "m.h5", inner, top, **LAYOUTS[name]))
    writer.assert_same(converted.variables, variables)
    assert converted.age_model["dense"] == (6,)
    assert converted.age_model["dropout"] == 0.8
    assert ("optimizer state" in converted.findings[1]) == LAYOUTS[name].get("optimizer", False)


def test_published_files_are_recognised_by_their_hash(vgg, tmp_path, monkeypatch):
    _, inner, top = copy.deepcopy(vgg)
    file = writer.write(tmp_path / "m.h5", inner, top)
    assert "none of the published files" in convert(file).findings[0]
    monkeypatch.setitem(keras_files.PUBLISHED, hashlib.sha256(file.read_bytes()).hexdigest(), "DeepBrainNet_VGG16.h5")
    assert "the published DeepBrainNet_VGG16.h5" in convert(file).findings[0]
    assert len(set(keras_files.PUBLISHED)) == 6


@pytest.mark.parametrize("keep", [0.5, 0.97])
def test_a_truncated_file_is_refused_and_nothing_is_written(keep, vgg, tmp_path, capsys):
    _, inner, top = copy.deepcopy(vgg)
    file = writer.write(tmp_path / "m.h5", inner, top)
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * keep)])
    assert main(["convert", "keras", str(file), "--out", str(tmp_path / "run")]) == 2
    assert "whole" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_what_is_no_model_is_refused(vgg, tmp_path):
    _, inner, top = copy.deepcopy(vgg)
    (tmp_path / "text.h5").write_text("hello")
    assert "HDF5" in writer.refused(tmp_path / "text.h5")
    assert "no such file" in writer.refused(tmp_path / "absent.h5")
    weights_only = writer.write(tmp_path / "w.h5", inner, top, nested=False, model_config=False)
    assert "weights only" in writer.refused(weights_only)
    assert "model.save()" in writer.refused(weights_only)
    with zipfile.ZipFile(tmp_path / "a.keras", "w") as archive:
        archive.writestr("metadata.json", "{}")
    assert "model.weights.h5" in writer.refused(tmp_path / "a.keras")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["data"] = np.zeros(3)
    assert "model_config" in writer.refused(tmp_path / "other.h5")


def test_missing_and_misshapen_weights_are_all_listed(vgg, tmp_path):
    _, inner, top = copy.deepcopy(vgg)
    del inner[2]["weights"]["bias"]
    inner[3]["weights"]["kernel"] = inner[3]["weights"]["kernel"][:, :, :-1]
    missing = writer.refused(writer.write(tmp_path / "m.h5", inner, top, nested=False))
    assert "block1_conv2" in missing
    assert "bias" in missing
    _, inner, top = copy.deepcopy(vgg)
    inner[3]["weights"]["kernel"] = inner[3]["weights"]["kernel"][:, :, :-1]
    inner[5]["weights"]["bias"] = np.zeros(99, np.float32)
    shapes = writer.refused(writer.write(tmp_path / "s.h5", inner, top))
    assert "block2_conv1/kernel: shape (3, 3, 3, 8); expected (3, 3, 4, 8)" in shapes
    assert "(99,)" in shapes
    _, inner, top = copy.deepcopy(vgg)
    inner[3]["weights"]["kernel"][0] = np.nan
    assert "NaN" in writer.refused(writer.write(tmp_path / "n.h5", inner, top))


def test_groups_missing_from_the_file_are_listed(vgg, tmp_path):
    _, inner, top = copy.deepcopy(vgg)
    file = writer.write(tmp_path / "m.h5", inner, top)
    with h5py.File(file, "r+") as opened:
        del opened["model_weights/dense_1"]
        del opened["model_weights/base/block3_conv1/kernel:0"]
    message = writer.refused(file)
    assert "dense_1: named in layer_names" in message
    assert "block3_conv1/kernel:0" in message


def test_the_converted_run_opens_in_the_api(vgg, tmp_path, capsys):
    import brain_diffusion_jax as bdj

    variables, inner, top = copy.deepcopy(vgg)
    file = writer.write(tmp_path / "m.h5", inner, top, optimizer=True)
    assert main(["convert", "keras", str(file), "--out", str(tmp_path / "run"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["age_model"]["backbone"] == "vgg16"
    model = bdj.load(tmp_path / "run")
    assert (model.kind, model.contract) == ("age", None)
    images = np.random.default_rng(0).random((3, 40, 33, 1)).astype(np.float32)
    expected = model.module.apply(variables, images)
    np.testing.assert_allclose(model.predict(images), expected, rtol=1e-5)
    assert model.features(images).shape == (3, 32)
    assert main(["convert", "keras", str(file), "--out", str(tmp_path / "run")]) == 2


@pytest.mark.parametrize("how", ["external storage", "virtual dataset", "ExternalLink", "SoftLink"])
def test_numbers_from_elsewhere_never_become_weights(how, vgg, tmp_path):
    _, inner, top = copy.deepcopy(vgg)
    file = writer.write(tmp_path / "m.h5", inner, top)
    place = "model_weights/base/block1_conv1/kernel:0"
    with h5py.File(tmp_path / "secret.h5", "w") as other:
        other["x"] = np.ones((3, 3, 3, 4), np.float32)
    (tmp_path / "secret.bin").write_bytes(bytes(3 * 3 * 3 * 4 * 4))
    with h5py.File(file, "r+") as opened:
        kernel = opened[place][...]
        del opened[place]
        if how == "external storage":
            storage = [(str(tmp_path / "secret.bin"), 0, h5py.h5f.UNLIMITED)]
            opened.create_dataset(place, kernel.shape, np.float32, external=storage)
        elif how == "virtual dataset":
            layout = h5py.VirtualLayout(kernel.shape, np.float32)
            layout[...] = h5py.VirtualSource(str(tmp_path / "secret.h5"), "x", kernel.shape, np.float32)
            opened.create_virtual_dataset(place, layout)
        else:
            opened["elsewhere"] = kernel
            link = h5py.SoftLink("/elsewhere") if how == "SoftLink" else h5py.ExternalLink("secret.h5", "/x")
            opened[place] = link
    assert how in writer.refused(file)


def test_a_claim_of_gigabytes_is_refused_unread(tmp_path, monkeypatch):
    for member in ("config.json", "model.weights.h5"):
        with zipfile.ZipFile(tmp_path / "bomb.keras", "w", zipfile.ZIP_DEFLATED) as archive:
            for name in ("config.json", "model.weights.h5"):
                archive.writestr(name, bytes(40 << 20) if name == member else b"{}")
        assert f"{member}: found {40 << 20} bytes when unpacked" in writer.refused(tmp_path / "bomb.keras")
    network, variables = writer.network_of("vgg16")
    inner = writer.layers_of(network, variables)
    file = writer.write(tmp_path / "m.h5", inner, writer.head_of(network, variables))
    with h5py.File(file, "r+") as opened:
        group = opened["model_weights/base/block1_conv1"]
        del group["bias:0"]
        group.create_dataset("bias:0", (1 << 40,), np.float32)  # of which no number is stored
    assert "block1_conv1/bias: shape (1099511627776,); expected (4,)" in writer.refused(file)
    with h5py.File(file, "r+") as opened:
        group = opened["model_weights/base/block1_conv1"]
        del group["bias:0"]
        group.create_dataset("bias:0", (4,), np.float32)  # the right shape, and nothing stored
    monkeypatch.setattr(keras_convert, "_SPARE", 0)
    assert "block1_conv1/bias: 16 bytes, of which hardly any are stored" in writer.refused(file)


@pytest.mark.parametrize(
    "config",
    [
        '{"class_name": "Sequential", "config": ' + "[" * 5000 + "]" * 5000 + "}",
        '{"class_name": "Sequential", "config": {"layers": 3}}',
        '{"class_name": "Functional", "config": {"layers": [{"class_name": "Dense", "config": []}]}}',
        '{"class_name": "Functional", "config": {"layers": [], "output_layers": [["x", 0, 0]]}}',
        "[1]",
        "{",
    ],
)
def test_configs_of_any_form_are_refused_with_the_file_named(config, tmp_path):
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file.attrs["model_config"] = config
        file.create_group("model_weights").attrs["layer_names"] = ["a"]
    assert str(tmp_path / "m.h5") in writer.refused(tmp_path / "m.h5")


def test_a_stopped_conversion_leaves_nothing_that_blocks_the_next(vgg, tmp_path, monkeypatch, capsys):
    from brain_diffusion_jax.training.run_folder import checkpoints

    _, inner, top = copy.deepcopy(vgg)
    file, run = writer.write(tmp_path / "m.h5", inner, top), tmp_path / "run"
    command = ["convert", "keras", str(file), "--out", str(run)]

    def stopped(folder, *args, **kwargs):
        (folder / "config.json").write_text("{}")
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(checkpoints, "write_run", stopped)
        assert main(command) == 130
    assert [p.name for p in tmp_path.iterdir()] == ["m.h5"]
    killed = tmp_path / ".run.0123456789ab.part"  # what SIGKILL leaves
    killed.mkdir()
    (killed / "config.json").write_text("{}")
    assert main(command) == 0
    assert {p.name for p in tmp_path.iterdir()} == {"m.h5", "run"}
    assert main(["info", str(run)]) == 0
    shutil.rmtree(run / "checkpoints")  # as release 0.1 left it
    capsys.readouterr()
    assert main(["info", str(run)]) == 2
    assert "convert again" in capsys.readouterr().err
