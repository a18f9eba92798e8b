"""Names for what no --out was given for; completion; what every command's help begins with and ends by saying."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_runs

from brain_diffusion_jax.cli import output
from brain_diffusion_jax.cli.main import COMMANDS, command, main, split_command
from brain_diffusion_jax.cli.parsing import OptionGroup, option
from brain_diffusion_jax.tasks.train import open_config


class Choice(OptionGroup):
    out: Path = option("where")
    resume: bool = option("go on", False)

    def default_out(self) -> Path:
        return Path("run/samples.d")


def test_a_free_name_is_chosen_and_nothing_is_overwritten(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("samples.d", "samples-2.d", "samples-3.d"):
        assert output.with_out(Choice()).out == Path("run") / name
        assert not (tmp_path / "run" / name).exists()  # choosing makes nothing
        (tmp_path / "run" / name).mkdir(parents=True)
    assert output.with_out(Choice(resume=True)).out == Path("run/samples-3.d")
    assert output.with_out(Choice(out=Path("mine"))).out == Path("mine")


def test_resume_where_nothing_is_yet(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert output.with_out(Choice(resume=True)).out == Path("run/samples.d")


# Commands that write files somewhere; the others print, know their run folder, or are told where.
ELSEWHERE = ("info", "doctor", "audit", "publish")
WRITING = [name for name in COMMANDS if not name.startswith("train") and name not in ELSEWHERE]
NAMED = {"prepare", "evaluate", "study", "demo"}  # those that name a default themselves, or write on demand only


def examples(name: str) -> list[list[str]]:
    """The words of each example of a command in the block under the first line of its help."""
    first, blank, *rest = command(name).description.split("\n")
    assert first.endswith("."), first
    assert not blank
    block = re.sub(r"\\\n\s*", " ", "\n".join(rest).split("\n\n")[0])
    lines = [re.split(r"\s#", line)[0].strip() for line in block.splitlines()]
    return [words for line in lines for found, words in [split_command(shlex.split(line)[1:])] if found == name]


@pytest.mark.parametrize("name", COMMANDS)
def test_help_begins_with_two_examples_that_parse(name, capsys):
    found = examples(name)
    assert len(found) >= 2
    for words in found:
        command(name).parse(words)
    assert main([*name.split(), "--help"]) == 0
    assert " ".join(found[0]) in re.sub(r"\s+", " ", capsys.readouterr().out)


@pytest.mark.parametrize("name", WRITING)
def test_every_command_that_writes_has_a_default_place(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = next(iter(w for w in examples(name) if "--to" not in w or name == "age-edit"))
    without = [w for i, w in enumerate(words) if w != "--out" and (i == 0 or words[i - 1] != "--out")]
    options = command(name).parse(without)
    assert name in NAMED or options.out is None
    assert name in NAMED or output.with_out(options).out


@pytest.mark.parametrize("name", COMMANDS)
def test_the_next_step_is_a_command_that_parses(name):
    for words in examples(name):
        chosen = command(name)
        options = output.with_out(chosen.parse(words))
        if text := chosen.next_step(options):
            following, more = split_command(shlex.split(text, comments=True)[1:])
            command(following).parse(more)


def next_of(*words: str) -> str:
    chosen = command(words[0])
    return chosen.next_step(output.with_out(chosen.parse(list(words[1:]))))


def test_what_follows_prepare_is_a_training_that_reads_its_words(tmp_path, monkeypatch):
    monkeypatch.chdir(Path(__file__).parents[2])
    slices = ["configs/oasis/diffusion_cpu.py", "cohort.root=/data", "split.seed=2", "name=mine"]
    told = next_of("prepare", *slices)
    assert told == "brain-diffusion train configs/oasis/diffusion_cpu.py name=mine data.shards=shards/mine"
    assert next_of("prepare", *slices[:2], "data.shards=a b").endswith(" 'data.shards=a b'")
    told = next_of("prepare", "configs/oasis/volumes_2mm.py", "cohort.root=/data", "--out", str(tmp_path / "o2"))
    first, rest = told.split("  # or ")
    assert first == f"brain-diffusion train configs/oasis/autoencoder_2mm.py data.shards={tmp_path / 'o2'}"
    assert rest == "age_2mm.py, latent_2mm.py, lsgan_2mm.py"
    for words in (first, next_of("prepare", *slices)):
        name, *more = shlex.split(words)[1:]
        options = command(name).parse(more)
        open_config(options.config, options.overrides)  # refuses what a training does not read
    mine = tmp_path / "mine.py"
    mine.write_text(Path("configs/oasis/volumes_2mm.py").read_text("utf-8"), "utf-8")
    assert "train CONFIG data.shards=shards/oasis_volumes_2mm  # CONFIG: of a kind" in next_of("prepare", str(mine))


def test_what_follows_a_training_names_its_folder(monkeypatch):
    monkeypatch.chdir(Path(__file__).parents[2])
    assert next_of("train-age", "configs/phantom/demo.py") == "brain-diffusion info runs/phantom-age"
    assert next_of("train", "configs/phantom/demo.py", "name=mine") == "brain-diffusion info runs/mine"


def test_what_follows_sample_needs_real_images(tmp_path):
    run = tiny_runs.bare_run(tmp_path / "run", "diffusion", f"data.shards={tmp_path}")
    assert next_of("sample", str(run), "--out", "a") == f"brain-diffusion evaluate a --data {tmp_path}"
    other = tiny_runs.bare_run(tmp_path / "other", "diffusion")
    assert next_of("sample", str(other), "--out", "a") == f"brain-diffusion explore {other}"


def test_a_command_ends_with_what_to_do_next(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["phantom", "--people", "1", "--out", str(tmp_path / "made")]) == 0
    said = capsys.readouterr()
    assert said.out == f"{tmp_path / 'made'}\n"
    assert said.err.splitlines()[-1] == f"next: brain-diffusion inspect {tmp_path / 'made'}"
    monkeypatch.chdir(Path(__file__).parents[2])
    told = next_of("phantom", "--out", str(tmp_path / "other"))
    assert told == f"brain-diffusion inspect configs/phantom/demo.py cohort.root={tmp_path / 'other'}"


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion_knows_every_command_and_its_options(shell, capsys):
    assert main(["--print-completion", shell]) == 0
    script = capsys.readouterr().out
    words = set(re.findall(r"[\w-]+", script))
    assert {part for name in COMMANDS for part in name.split()} <= words
    assert "--age-model" in script
    if shell == "bash":
        checked = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True)
        assert checked.returncode == 0, checked.stderr


def test_completion_without_shtab_or_for_another_shell(monkeypatch, capsys):
    assert main(["--print-completion", "fish"]) == 2
    assert "one of bash, zsh, tcsh" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert main(["--print-completion", "bash"]) == 2
    assert "brain-diffusion-jax[completion]" in capsys.readouterr().err


def test_a_page_is_opened_by_its_whole_address(tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    monkeypatch.chdir(tmp_path)
    output.open_page("a page.html")
    assert opened == [(tmp_path / "a page.html").as_uri()]


@pytest.mark.parametrize("words", [["study", "run"], ["inspect", "cohort"], ["demo"], ["explore", "run"]])
def test_commands_that_write_pages_open_them(words):
    name, rest = split_command(words)
    assert not command(name).parse(rest).open
    assert command(name).parse([*rest, "--open"]).open
