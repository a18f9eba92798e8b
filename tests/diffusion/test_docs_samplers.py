"""docs/samplers.md runs, and what it says is true."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from brain_diffusion_jax.diffusion import guidance, levels, samplers

PAGE = Path(__file__).resolve().parents[2] / "docs" / "samplers.md"


@pytest.fixture
def namespace():
    page = types.ModuleType("samplers_page")  # dataclasses look their module up
    sys.modules["samplers_page"] = page
    code = "\n".join(re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S))
    try:
        exec(compile(code, str(PAGE), "exec"), page.__dict__)
        yield page.__dict__
    finally:
        sys.modules.pop("samplers_page")
        samplers._REGISTERED.pop("leaning", None)
        guidance._REGISTERED.pop("bell", None)


def test_the_worked_example_runs_and_is_right(namespace):
    table = namespace["table"]
    assert len(table) == 2 * 2 * (2 + 1 + 1)  # rules x scales x (leaning twice, the other two once)
    by = {(c.sampler, c.guidance, c.guidance_scale, dict(c.sampler_options).get("lean")): v for c, v in table.items()}
    # Off is off for the new rule; lean 0 is DDIM for the new sampler.
    for sampler, lean in (("leaning", 0.5), ("ddim", None)):
        np.testing.assert_allclose(by[sampler, "bell", 1.0, lean], by[sampler, "cfg", 1.0, lean], atol=1e-5)
    for rule in ("bell", "cfg"):
        np.testing.assert_allclose(by["leaning", rule, 3.0, 0.0], by["ddim", rule, 3.0, None], atol=1e-4)
        assert np.all(by["ddim", rule, 3.0, None] > by["ddim", rule, 1.0, None] + 0.05)
    np.testing.assert_allclose(by["ddim", "cfg", 1.0, None], [0.2, 0.4], atol=0.1)


def test_the_page_names_everything_there_is():
    text = PAGE.read_text()
    for name in (*samplers.names(), *levels.names(), *guidance.names()):
        assert f"`{name}`" in text, name
