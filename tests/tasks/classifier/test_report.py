"""What a classifier is shown when its report is written."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from brain_diffusion_jax.tasks.classifier import report


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_the_report_is_on_unit_pictures_whatever_the_shards_hold(dtype, monkeypatch, tmp_path):
    stored = np.full((2, 4, 4, 1), 255 if dtype == "uint8" else 1, dtype)
    items = {"image": stored, "present": np.ones((2, 1), bool), "values": np.array([[0.0], [1.0]])}
    shown = []

    def probabilities(images):
        shown.append(images)
        return np.eye(2)

    judge = SimpleNamespace(name="j", words=("a", "b"), column=0, probabilities=probabilities)
    monkeypatch.setattr(report, "open_run", lambda _: judge)
    monkeypatch.setattr(report, "read_all", lambda *_: items)
    monkeypatch.setattr(report, "load_manifest", lambda _: {"splits": {"test": []}})
    assert report.write(tmp_path, "shards")["test"]["accuracy"] == 1
    assert shown[0].dtype == np.float32
    assert (shown[0] == 1).all()
