"""Two runs in one folder."""

from __future__ import annotations

import pytest

from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.training.run_folder import stopping


def test_two_runs_in_one_folder(tmp_path):
    with stopping.lock(tmp_path):
        with pytest.raises(InputError, match="in use by"), stopping.lock(tmp_path):
            pass
        with stopping.lock(tmp_path, hold=False):  # another process of the same job
            pass
    (tmp_path / "lock").write_text('{"pid": 1, "host": "left by a dead run"}')
    with stopping.lock(tmp_path):
        pass
