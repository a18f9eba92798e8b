"""A sweep spread over the devices of one process gives the pictures of one device."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def test_eight_devices_give_the_pictures_of_one():
    paths = os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths, "JAX_PLATFORMS": "cpu"}
    environment["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"
    words = [sys.executable, str(HERE / "sweep_on_devices.py")]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["devices"] == found["spread"] == 8
    assert len(found["differences"]) == 5
    assert max(found["differences"].values()) < 1e-5, found
    assert found["traces"] == 0  # other scales, seeds and conditions are no other program
    assert found["collectives"] == 0  # every device samples its own conditions
    assert "MiB for chunk=16" in found["memory"]
