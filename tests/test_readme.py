"""What the README prints must be true: commands parse, links lead somewhere, CI runs the same words."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import pytest

from brain_diffusion_jax.cli.main import COMMANDS, command, split_command
from brain_diffusion_jax.config import apply_overrides, base_config, load_config

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


SOURCES = sorted(
    path
    for folder in ("brain_diffusion_jax", "configs", "scripts")
    for path in (ROOT / folder).rglob("*")
    if path.suffix in (".py", ".sh", ".yaml")
)


def pieces(path: Path) -> list[str]:
    """Where a file prints commands: code blocks and code spans of a page, docstrings of a module, all of a script."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        return [*re.findall(r"```(?:\w*)\n(.*?)```", text, re.S), *re.findall(r"`(brain-diffusion [^`]+)`", text)]
    if path.suffix != ".py":
        return [text]
    nodes = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Module | ast.ClassDef | ast.FunctionDef)]
    return [ast.get_docstring(node) or "" for node in nodes]


def printed_commands() -> list[tuple[str, str]]:
    """(file, command line) of every `brain-diffusion ...` that a file prints, continuation lines joined."""
    found = []
    for path in [*PAGES, *SOURCES]:
        for piece in pieces(path):
            for line in re.sub(r"\\\n\s*", " ", piece).splitlines():
                text = re.sub(r"^(\$ |(Command|Weights):\s*)", "", line.strip()).split("&&")[-1]
                text = re.split(r"\s#|\s>|\s{3,}\(|\s\[", text)[0].strip()
                shown = " ... " in f"{text} " or any(word in text for word in ("$", "`", "--help"))
                if re.match(r"brain-diffusion [a-z-]+ ", text) and not shown:
                    found.append((str(path.relative_to(ROOT)), text))
    return sorted(set(found))


def test_commands_are_found_wherever_they_are_printed() -> None:
    pages = {page.split("/")[0] for page, _ in printed_commands()}
    assert pages >= {"README.md", "docs", "configs", "brain_diffusion_jax"}


@pytest.mark.parametrize(("page", "line"), printed_commands())
def test_a_printed_command_parses(page: str, line: str) -> None:
    name, words = split_command(shlex.split(line)[1:])
    assert name in COMMANDS, f"{page}: {line}"
    try:
        parsed = vars(command(name)[1](words))
    except SystemExit as error:
        raise AssertionError(f"{page}: {line}") from error
    overrides = [word for word in parsed.get("overrides") or () if "=" in word]
    file = ROOT / str(parsed.get("config"))
    kind = load_config(file).get("kind", "") if file.suffix == ".py" and file.is_file() else ""
    apply_overrides(base_config(kind), [word for word in overrides if not word.startswith("class")])


@pytest.mark.parametrize("page", [*PAGES, ROOT / "ARCHITECTURE.md"], ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
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
        for name in re.findall(r"configs/([\w/]+)\.py", page.read_text()):
            assert (ROOT / "configs" / f"{name}.py").exists(), f"{page.name}: {name}"
