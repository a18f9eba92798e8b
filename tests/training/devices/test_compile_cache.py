"""Where compiled programs are kept."""

from __future__ import annotations

from pathlib import Path

import jax
import pytest

from brain_diffusion_jax.training.devices import compile_cache


@pytest.fixture(autouse=True)
def _as_before():
    before = jax.config.jax_compilation_cache_dir
    yield
    jax.config.update("jax_compilation_cache_dir", before)


@pytest.mark.parametrize(
    ("variable", "home", "expected"),
    [("/a/b", "/home/me", "/a/b"), ("", "/home/me", "/home/me/.cache/brain-diffusion/jax"), ("", "relative", "")],
)
def test_the_variable_comes_before_the_home_folder(
    variable: str, home: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", variable)
    monkeypatch.setenv("HOME", home)
    assert compile_cache.enable() == expected
    if expected:
        assert Path(jax.config.jax_compilation_cache_dir) == Path(expected)
