"""The documentation site holds together: pages, links, the reference of commands. (mkdocs itself runs in .ci/run.)"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cli_reference
import pytest
import yaml

from brain_diffusion_jax.cli.main import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
SITE = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
PAGES = {str(page.relative_to(DOCS).as_posix()): page for page in sorted(DOCS.rglob("*.md"))}


def in_nav(entries: Any) -> Iterator[str]:
    """The pages that a part of `nav` names."""
    if isinstance(entries, str):
        yield entries
    for entry in entries.values() if isinstance(entries, dict) else entries if isinstance(entries, list) else ():
        yield from in_nav(entry)


def anchors(page: Path) -> set[str]:
    """What the headings of a page are called in links, as the extension toc of Python-Markdown makes it."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
    found = set()
    for heading in re.findall(r"^#+ (.+)$", text, re.M):
        words = re.sub(r"[^\w\s-]", "", heading).strip().lower()
        found.add(re.sub(r"[-\s]+", "-", words))
    return found


def test_every_page_is_in_the_navigation_once():
    named = list(in_nav(SITE["nav"]))
    assert sorted(named) == sorted(PAGES)


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_to_pages_of_the_site(name):
    page = PAGES[name]
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
    for target, anchor in re.findall(r"\]\(([^)#:\s]*)(?:#([^)]*))?\)", text):
        to = Path(os.path.normpath(page.parent / target)) if target else page
        assert to.is_file(), f"{name}: {target}"
        assert to.is_relative_to(DOCS), f"{name}: {target} is outside the site"
        if anchor:
            assert anchor in anchors(to), f"{name}: {target}#{anchor}"


def test_anchors_in_the_readme_are_headings_of_the_pages():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    links = re.findall(r"\]\((docs/[^)#]+)#([^)]+)\)", text)
    assert links
    assert not [f"{page}#{anchor}" for page, anchor in links if anchor not in anchors(ROOT / page)]


def test_sections_that_the_readme_names_are_those_of_the_report():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    table = text.split("## What is measured, and where")[1].split("\n## ")[0]
    named = re.findall(r"\*([^*]+)\*", table)
    assert len(named) >= 6
    folder = ROOT / "brain_diffusion_jax" / "evaluation" / "report"
    sources = "".join(path.read_text(encoding="utf-8") for path in folder.glob("*.py"))
    assert not [name for name in named if f'"{name.removesuffix(" ...")}' not in sources]


def test_notebooks_are_documents_of_jupytext_that_continuous_integration_runs():
    notebooks = sorted((DOCS / "notebooks").glob("*.md"))
    assert len(notebooks) == 3
    for notebook in notebooks:
        _, front, text = notebook.read_text(encoding="utf-8").split("---\n", 2)
        header = yaml.safe_load(front)["jupyter"]
        assert header["jupytext"]["text_representation"]["format_name"] == "markdown"
        assert header["kernelspec"]["name"] == "python3"
        assert "assert " in text  # a run says whether what the text claims is true
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "docs/notebooks/*.md" in script
    assert "--nbmake" in script


def test_every_room_has_its_page_and_every_page_its_room():
    package = ROOT / "brain_diffusion_jax"
    documented = set()
    for page in (DOCS / "reference").glob("*.md"):
        for module in re.findall(r"^::: brain_diffusion_jax\.([\w.]+)$", page.read_text(encoding="utf-8"), re.M):
            documented.add(module)
    rooms = {p.name for p in package.iterdir() if p.is_dir() and (p / "__init__.py").exists()}
    rooms |= {p.stem for p in package.glob("*.py") if p.stem != "__init__"}
    assert documented == rooms - {"cli"}  # the reference of commands is that of cli


def test_the_reference_of_commands_is_that_of_the_parsers():
    page = (DOCS / "reference" / "commands.md").read_text(encoding="utf-8")
    made = cli_reference.on_page_markdown(page, page=None, config=None, files=None)
    assert cli_reference.MARK not in made
    assert re.findall(r"^## (.+)$", made, re.M) == list(COMMANDS)
    sample = made.split("\n## sample\n")[1].split("\n## ")[0]
    assert "usage: brain-diffusion sample" in sample
    assert "--memory-gib MEMORY_GIB" in sample
    assert cli_reference.on_page_markdown("another page") == "another page"


def test_the_site_asks_nothing_of_other_machines():
    assert SITE["theme"]["font"] is False
    assert "extra_javascript" not in SITE
    assert all((DOCS / style).is_file() for style in SITE["extra_css"])
    pictures = [t for page in PAGES.values() for t in re.findall(r"!\[[^]]*\]\(([^)]+)\)", page.read_text("utf-8"))]
    assert pictures
    assert not [target for target in pictures if ":" in target]
