"""The rooms of DESIGN.md: who may import whom, read from the import statements themselves."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "brain_diffusion_jax"
SEAMS = {
    *("errors", "files", "json_types", "pixels", "seeds", "covariates", "contract", "array_types"),
    "__init__",
}
ALLOWED = {
    "errors": set(),
    "files": {"errors"},
    "pixels": {"errors"},
    "seeds": {"errors"},
    "json_types": {"errors"},
    "covariates": {"errors", "json_types"},
    "contract": {"errors", "files", "json_types", "covariates"},
    "array_types": {"errors", "covariates", "contract"},
    "config": {"errors", "files", "seeds"},
    "data": SEAMS,
    "models": SEAMS,
    "diffusion": SEAMS,
    "losses": SEAMS,
    "training": SEAMS | {"data"},
    "evaluation": SEAMS | {"data", "models", "diffusion"},
    "conversion": SEAMS | {"models"},
    "tasks": SEAMS | {"config", "data", "models", "diffusion", "losses", "training", "evaluation"},
    "api": SEAMS | {"config", "data", "models", "diffusion", "training", "evaluation", "tasks"},
    "cli": SEAMS | {"config", "data", "models", "diffusion", "training", "evaluation", "tasks", "conversion", "api"},
    "__init__": {"api"},
}
FOREIGN = {"torch", "monai", "h5py", "keras", "tensorflow"}
FILES = sorted(PACKAGE.rglob("*.py"))


def imports(tree: ast.AST) -> list[tuple[str, int]]:
    """(dotted module, column) of every import; column 0 is module level."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.col_offset) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found += [(f"{node.module}.{alias.name}", node.col_offset) for alias in node.names]
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_file_imports_only_what_its_room_may(path: Path) -> None:
    room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    for module, column in imports(ast.parse(path.read_text(encoding="utf-8"))):
        parts = module.split(".")
        if parts[0] == "brain_diffusion_jax" and len(parts) > 1 and parts[1] != "__version__":
            assert parts[1] in ALLOWED[room] | {room}, f"{path}: {room} may not import {module}"
        assert parts[0] != "csv", f"{path}: data/table.py reads and writes all tables"
        if parts[0] in FOREIGN:
            assert room == "conversion", f"{path}: {parts[0]} belongs in conversion/"
            assert column > 0, f"{path}: import {parts[0]} inside a function"


def test_importing_the_package_is_light() -> None:
    import subprocess
    import sys

    code = (
        "import sys, brain_diffusion_jax, brain_diffusion_jax.cli.main as m; m.main(['--help']);"
        "heavy = {'jax', 'flax', 'numpy', 'matplotlib', 'torch'} & set(sys.modules);"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_no_file_has_a_name_that_says_nothing() -> None:
    empty = {"utils", "common", "helpers", "misc", "manager"}
    assert not [p for p in FILES if p.stem in empty or p.stem.startswith(("simple_", "general_"))]


def _opens_by_locale(call: ast.Call) -> bool:
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    owner = getattr(getattr(call.func, "value", None), "id", "")
    if any(k.arg == "encoding" for k in call.keywords):
        return False
    if name == "open":
        modes = [a.value for a in call.args[-1:] if isinstance(a, ast.Constant)]
        return owner not in ("os", "Image", "webbrowser", "gzip", "bz2", "archive") and not any(
            "b" in str(mode) for mode in modes
        )
    return name in ("read_text", "write_text") and owner != "files"


def test_no_text_file_is_opened_as_the_locale_says() -> None:
    """Ruff's rule (PLW1514) sees only paths whose type it knows."""
    found = {
        str(path.relative_to(PACKAGE))
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and path.name != "files.py" and _opens_by_locale(node)
    }
    assert not found
