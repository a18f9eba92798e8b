"""Bars of stages: one goes on while its total stays, what begins again gets its own."""

from __future__ import annotations

import pytest
import tqdm

from brain_diffusion_jax.cli.progress import bar_of, stages


@pytest.fixture
def bars(monkeypatch):
    made = []

    class Bar(tqdm.tqdm):
        def __init__(self, **settings):
            super().__init__(**{**settings, "disable": False, "file": open("/dev/null", "w", encoding="utf-8")})  # noqa: SIM115
            made.append(self)

    monkeypatch.setattr(tqdm, "tqdm", Bar)
    return made


def test_a_stage_that_begins_again_gets_a_bar(bars):
    with stages("image") as tell:
        for stage, done, total in (("a", 0, 4), ("a", 4, 4), ("b", 1, 4), ("b", 3, 4), ("c", 3, 9)):
            tell(stage, done, total)
    assert [(bar.n, bar.total, bar.desc) for bar in bars] == [(4, 4, "a: "), (3, 4, "b: "), (3, 9, "c: ")]


def test_one_bar(bars):
    with bar_of("scan") as tell:
        tell(0, 3)
        tell(2, 3)
    assert [(bar.n, bar.total) for bar in bars] == [(2, 3)]
