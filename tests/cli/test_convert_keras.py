"""`convert keras`: what is no Keras file, and a folder in use. What files become: conversion/test_keras_files.py."""

from __future__ import annotations

from brain_diffusion_jax.cli.main import main


def test_what_cannot_be_converted_writes_nothing(tmp_path, capsys):
    file, out = tmp_path / "model.h5", tmp_path / "run"
    assert main(["convert", "keras", str(file), "--out", str(out)]) == 2
    assert "model.h5" in capsys.readouterr().err
    file.write_bytes(b"no HDF5")
    assert main(["convert", "keras", str(file), "--out", str(out)]) == 2
    assert "model.h5" in capsys.readouterr().err
    assert not out.exists()
    assert main(["convert", "keras", str(file), "--out", str(tmp_path)]) == 2
    assert "--out" in capsys.readouterr().err
