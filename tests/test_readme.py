"""What the README prints must be true: commands parse, links lead somewhere, CI runs the same words."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from brain_diffusion_jax.cli.main import COMMANDS, command

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def printed_commands() -> list[tuple[str, str]]:
    """(page, command line) of every `brain-diffusion ...` in a code block, continuation lines joined."""
    found = []
    for page in PAGES:
        for block in re.findall(r"```(?:\w*)\n(.*?)```", page.read_text(), re.S):
            for line in block.replace("\\\n", " ").splitlines():
                text = line.strip().removeprefix("$ ").split("#")[0].split("&&")[-1].split(">")[0].strip()
                if text.startswith("brain-diffusion ") and "..." not in text:
                    found.append((page.name, text))
    return found


@pytest.mark.parametrize(("page", "line"), printed_commands())
def test_a_printed_command_parses(page: str, line: str) -> None:
    name, *words = shlex.split(line)[1:]
    assert name in COMMANDS, f"{page}: {line}"
    try:
        command(name)[1](words)
    except SystemExit as error:
        raise AssertionError(f"{page}: {line}") from error


@pytest.mark.parametrize("page", [*PAGES, ROOT / "ARCHITECTURE.md"], ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_command_is_in_the_readme() -> None:
    text = (ROOT / "README.md").read_text()
    assert not [name for name in COMMANDS if f"`{name}`" not in text]


def test_continuous_integration_runs_the_printed_test_command() -> None:
    readme, script = (ROOT / "README.md").read_text(), (ROOT / ".ci" / "run").read_text()
    for kind in ("demo", "test"):
        assert re.search(rf"<!-- command: {kind} -->\n```\npip install .* && .*\n```", readme)
    assert "<!-- command: test -->" in script


def test_configs_named_in_pages_exist() -> None:
    for page in PAGES:
        for name in re.findall(r"configs/(\w+)\.py", page.read_text()):
            assert (ROOT / "configs" / f"{name}.py").exists(), f"{page.name}: {name}"
