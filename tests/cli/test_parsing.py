"""A field of a dataclass is an option: its type, its default, its place."""

from __future__ import annotations

import argparse
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from brain_diffusion_jax.cli import main
from brain_diffusion_jax.cli.parsing import OptionGroup, argument, declare, listed, option, parse


class Options(OptionGroup):
    source: Path = argument("what")
    overrides: tuple[str, ...] = argument("changes", nargs="*")
    out: Path = option("where", required=True)
    num_steps: int | None = option("how many")
    rate: float = option("how fast", 0.5)
    scales: tuple[float, ...] = option("scales", (1.0,))
    allow: tuple[str, ...] = option("what", (), action="append")
    runs: tuple[str, ...] = option("which", (), nargs="+")
    json: bool = option("as JSON", False)


def parsed(*given: str) -> Options:
    parser = argparse.ArgumentParser()
    declare(parser, Options)
    return parse(parser, Options, given)


def test_what_is_not_given_is_the_default():
    found = parsed("run", "--out", "x")
    assert found == Options(source=Path("run"), overrides=(), out=Path("x"))
    assert (found.num_steps, found.rate, found.scales, found.allow, found.json) == (None, 0.5, (1.0,), (), False)
    with pytest.raises(FrozenInstanceError):
        found.rate = 1.0


def test_what_is_given_has_the_type_of_its_field():
    given = ("run", "a.b=1", "--out", "x", "--num-steps", "3", "c.d=2", "--rate", "0", "--scales", "1,2.5", "--json")
    found = parsed(*given, "--allow", "p", "--allow", "q")
    assert found.overrides == ("a.b=1", "c.d=2")  # anywhere among the options
    assert (found.num_steps, found.rate, found.scales) == (3, 0.0, (1.0, 2.5))
    assert (found.allow, found.json) == (("p", "q"), True)


def test_an_option_of_several_words_takes_no_setting():
    found = parsed("run", "--out", "x", "--runs", "a", "b=1", "c.d=2", "e", "--json", "f.g=3")
    assert found.runs == ("a", "b=1", "e")
    assert sorted(found.overrides) == ["c.d=2", "f.g=3"]


def test_the_home_that_a_shell_leaves_alone(monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    assert parsed("~/run", "--out=~/x").out == Path("/home/someone/x")


@pytest.mark.parametrize("given", [("run",), ("--out", "x"), ("run", "--out", "x", "--num-steps", "many")])
def test_what_lacks_or_is_no_number_ends_with_2(given, capsys):
    with pytest.raises(SystemExit, match="2"):
        parsed(*given)
    assert "usage" in capsys.readouterr().err


def test_what_is_separated_by_commas():
    assert listed(str, "words")("a,b,") == ("a", "b")
    with pytest.raises(argparse.ArgumentTypeError, match="found 'a'; expected whole ones"):
        listed(int, "whole ones")("a")


@pytest.mark.parametrize("name", main.COMMANDS)
def test_every_command_says_what_its_options_are_for(name):
    module, _, options = main.COMMANDS[name][0].partition(".")
    declared = getattr(__import__(f"brain_diffusion_jax.cli.{module}", fromlist=["Options"]), options or "Options")
    assert declared.__dataclass_params__.frozen
    assert all(len(field.metadata["help"]) > 3 for field in declared.__dataclass_fields__.values() if field.metadata)


def test_the_kinds_of_convert_are_listed(capsys):
    assert main.main(["convert", "--help"]) == 0
    shown = capsys.readouterr().out
    assert "convert monai" in shown
    assert "sweep" not in shown
    assert main.main(["convert", "monay"]) == 2
    assert "convert monai" in capsys.readouterr().err
