"""Every public definition of the rooms below has a docstring, its own or that of the method it implements."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "brain_diffusion_jax"
# Rooms whose definitions are all documented; the rest of the package joins them.
ROOMS = (
    "array_types.py",
    "covariates.py",
    "errors.py",
    "json_types.py",
    "seeds.py",
    "conversion",
    "diffusion",
    "models",
    "training/averages",
    "training/devices",
)
MODULES = sorted(
    path for room in ROOMS for path in ([PACKAGE / room] if room.endswith(".py") else (PACKAGE / room).rglob("*.py"))
)
SCRIPTS = sorted((PACKAGE.parent / "scripts").glob("*.py"))


def undocumented(body: list[ast.stmt], prefix: str = "") -> Iterator[str]:
    """Dotted names of the public functions, classes and methods in `body` that have no docstring of their own."""
    for node in body:
        if not isinstance(node, ast.FunctionDef | ast.ClassDef) or node.name.startswith("_"):
            continue
        if not ast.get_docstring(node):
            yield prefix + node.name
        if isinstance(node, ast.ClassDef):
            yield from undocumented(node.body, f"{prefix}{node.name}.")


def inherits(path: Path, name: str) -> bool:
    """Whether `name` of a module is a method or property that a base class of its class documents."""
    owner, _, member = name.rpartition(".")
    if not owner:
        return False
    module = importlib.import_module(
        ".".join(("brain_diffusion_jax", *path.relative_to(PACKAGE).with_suffix("").parts))
    )
    return any(getattr(base.__dict__.get(member), "__doc__", None) for base in getattr(module, owner).__mro__)


@pytest.mark.parametrize("path", [*MODULES, *SCRIPTS], ids=lambda path: str(path.relative_to(PACKAGE.parent)))
def test_every_public_definition_has_a_docstring(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), "the module has no docstring"
    missing = [name for name in undocumented(tree.body) if not inherits(path, name)]
    assert not missing


def test_an_undocumented_definition_is_found():
    tree = ast.parse('class A:\n    """A."""\n    def b(self): ...\n    def _c(self): ...\ndef d(): ...\n')
    assert list(undocumented(tree.body)) == ["A.b", "d"]
