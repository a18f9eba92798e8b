"""What a wheel holds and what an install pulls, read from setup.py without building anything."""

from __future__ import annotations

import ast
import re
import runpy
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import setuptools

import brain_diffusion_jax

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "brain_diffusion_jax"
# Not imported by us, and why they are pulled.
_FOR_OTHERS = {"importlib-resources": "tensorflow-datasets imports it without naming it"}
_MODULES = {
    "orbax-checkpoint": "orbax",
    "pillow": "PIL",
    "scikit-image": "skimage",
    "tensorflow-datasets": "tensorflow_datasets",
}


@pytest.fixture(scope="module")
def declared():
    """The arguments of `setup`."""
    given = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(setuptools, "setup", lambda **arguments: given.update(arguments))
        patch.chdir(ROOT)
        runpy.run_path("setup.py")
    return given


def name(requirement: str) -> str:
    return re.split(r"[<>=\[ ]", requirement)[0].lower().replace("_", "-")


def module(distribution: str) -> str:
    return _MODULES.get(distribution, distribution.replace("-", "_")).lower()


def imported(*, at_import: bool = False) -> set[str]:
    """Lower-case names of the foreign modules that the package imports; at_import: outside functions."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
        inside = {inner for f in functions for inner in ast.walk(f)} if at_import else set()
        for node in ast.walk(tree):
            if node in inside:
                continue
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0].lower() for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                found.add(node.module.partition(".")[0].lower())
    return found - {m.lower() for m in sys.stdlib_module_names} - {"brain_diffusion_jax"}


def test_a_wheel_holds_the_whole_package_and_no_tests(declared):
    assert set(declared["packages"]) == {
        ".".join(path.parent.relative_to(ROOT).parts) for path in PACKAGE.rglob("__init__.py")
    }
    assert all(package.split(".")[0] == "brain_diffusion_jax" for package in declared["packages"])
    assert not [p for p in PACKAGE.rglob("*") if p.name.startswith("test_") or p.name in ("tests", "conftest.py")]
    patterns = declared["package_data"]["brain_diffusion_jax"]
    beside = [p for p in PACKAGE.rglob("*") if p.is_file() and p.suffix not in (".py", ".pyc")]
    assert not [p for p in beside if not any(p.relative_to(PACKAGE).match(pattern) for pattern in patterns)]


def test_an_install_pulls_what_the_package_imports_and_nothing_else(declared):
    wanted = {name(r) for r in declared["install_requires"]}
    uses = imported()
    assert {d for d in wanted if module(d) not in uses} == set(_FOR_OTHERS)
    extra = {module(name(r)) for rs in declared["extras_require"].values() for r in rs}
    known = {m.lower(): {d.lower().replace("_", "-") for d in ds} for m, ds in packages_distributions().items()}
    unknown = {m for m in uses - extra if not known.get(m, {m}) & wanted}
    assert unknown <= {"tensorflow"} | {module(d) for d in wanted}
    # What comes with an extra alone may be missing: nobody imports it on the way to something else.
    assert not imported(at_import=True) & (extra - {module(d) for d in wanted})


def test_every_requirement_has_a_lowest_version_and_it_is_the_one_tried(declared):
    lowest = dict(
        line.split("==")
        for line in (ROOT / ".ci" / "lowest.txt").read_text().splitlines()
        if "==" in line and line[0] != "#"
    )
    for requirement in declared["install_requires"]:
        _, separator, version = requirement.partition(">=")
        assert separator, requirement
        tried = lowest[name(requirement)]
        assert tried == version or tried.startswith(f"{version}."), requirement


def test_the_version_stands_in_one_place(declared):
    version = brain_diffusion_jax.__version__
    assert declared["version"] == version
    cited = re.search(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), re.M)
    assert cited is not None
    assert cited[1] == version
    assert "## Unreleased" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert not [p for p in PACKAGE.rglob("*.py") if p.name != "__init__.py" and f'"{version}"' in p.read_text("utf-8")]


def test_contributors_find_what_to_touch():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for path in re.findall(r"`((?:brain_diffusion_jax|tests|docs|\.ci)/[\w/.]+)`", text):
        named = path.replace("NAME", "*").replace("KIND", "*")
        assert list(ROOT.glob(named)), path
    assert {p.name for p in (ROOT / ".github" / "ISSUE_TEMPLATE").iterdir()} == {"bug.md", "idea.md"}
