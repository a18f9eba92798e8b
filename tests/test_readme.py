"""What the README prints must be true: commands parse, links lead somewhere, CI runs the same words."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import shlex
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from brain_diffusion_jax.cli.main import COMMANDS, command, split_command
from brain_diffusion_jax.config import apply_overrides, base_config, load_config
from brain_diffusion_jax.tasks.spec import spec_of

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PACKAGE = "brain_diffusion_jax"


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
        fenced, spans = r"```(?:\w*)\n(.*?)```", r"`(brain-diffusion [a-z-]+ [^`]+)`"
        indented = r"^(?: {4}.*\n)+"
        return [*re.findall(fenced, text, re.S), *re.findall(spans, text), *re.findall(indented, text, re.M)]
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
                if re.match(r"brain-diffusion [a-z-]+( |$)", text) and not shown:
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


def python_blocks() -> list[tuple[str, str]]:
    """(page:line, code) of every Python block of the pages."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in re.finditer(r"^( *)```python\n(.*?)```", text, re.S | re.M):
            line = text.count("\n", 0, match.start()) + 1
            found.append((f"{page.relative_to(ROOT)}:{line}", textwrap.dedent(match[2])))
    return found


def named(tree: ast.AST) -> dict[str, Any]:
    """What the import statements of a block bind to the package's names; fails where there is no such name."""
    found: dict[str, Any] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith(PACKAGE):
            for alias in node.names:
                found[alias.asname or alias.name] = _member(importlib.import_module(str(node.module)), alias.name)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith(PACKAGE):
                    found[alias.asname or PACKAGE] = importlib.import_module(alias.name)
    return found


def _member(owner: Any, name: str) -> Any:
    if inspect.ismodule(owner) and not hasattr(owner, name):
        return importlib.import_module(f"{owner.__name__}.{name}")
    return getattr(owner, name)


def calls(tree: ast.AST, names: dict[str, Any]) -> Iterator[tuple[Any, ast.Call]]:
    """(what is called, the call) wherever a dotted name of the package is called; fails where there is no such name."""
    called = {id(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        words = ast.unparse(node).split(".") if isinstance(node, ast.Name | ast.Attribute) else [""]
        if words[0] in names and all(word.isidentifier() for word in words):
            target = names[words[0]]
            for word in words[1:]:
                target = _member(target, word)
            if id(node) in called:
                yield target, called[id(node)]


def check_block(code: str, names: dict[str, Any]) -> None:
    """The block parses, its imports and dotted names exist, and its calls fit the signatures. `names` is added to."""
    tree = ast.parse(code)
    names |= named(tree)
    for target, call in calls(tree, names):
        if not any(isinstance(argument, ast.Starred) for argument in call.args):
            inspect.signature(target).bind(*call.args, **{str(k.arg): k for k in call.keywords if k.arg})


def test_python_blocks_name_what_exists() -> None:
    names: dict[str, dict[str, Any]] = {}
    blocks = python_blocks()
    assert len(blocks) >= 15
    for where, code in blocks:
        try:
            # Blocks of a page follow each other; what a page does not import itself is `bdj`.
            page = names.setdefault(where.split(":")[0], {"bdj": importlib.import_module(PACKAGE)})
            check_block(code, page)
        except (AttributeError, ImportError, SyntaxError, TypeError) as error:
            raise AssertionError(f"{where}: {error}") from error


def test_printed_configs_are_read_by_their_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)  # configs are named from there
    configs = [(where, code) for where, code in python_blocks() if "def get_config" in code]
    assert configs
    for where, code in configs:
        names: dict[str, Any] = {}
        exec(compile(code, where, "exec"), names)
        config = names["get_config"]()
        declared = spec_of(config, where)
        declared.read(config)


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("import brain_diffusion_jax as bdj\nbdj.lode('runs/a')", ImportError),
        ("import brain_diffusion_jax as bdj\nbdj.load('runs/a', 'age', colour=3)", TypeError),
        ("from brain_diffusion_jax.config import lode_config", ImportError),
    ],
)
def test_a_block_that_names_what_is_not_there_is_found(code: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        check_block(code, {})


@pytest.mark.parametrize("page", [*PAGES, ROOT / "ARCHITECTURE.md"], ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
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
