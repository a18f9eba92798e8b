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
    "tasks": SEAMS | {"config", "data", "models", "diffusion", "losses", "training", "evaluation", "conversion"},
    "api": SEAMS | {"config", "data", "models", "diffusion", "training", "evaluation", "tasks", "conversion"},
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


def _typing_only(tree: ast.AST) -> set[ast.AST]:
    """What stands under `if TYPE_CHECKING`: imported by no running program."""
    blocks = [n for n in ast.walk(tree) if isinstance(n, ast.If) and getattr(n.test, "id", "") == "TYPE_CHECKING"]
    return {inner for block in blocks for inner in ast.walk(block)}


def _modules_imported(path: Path, modules: set[str]) -> set[str]:
    """Modules of the package that a file imports, at the top or inside functions."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped = _typing_only(tree)
    kept = ast.Module([n for n in ast.walk(tree) if isinstance(n, ast.stmt) and n not in skipped], [])
    names = {name for name, _ in imports(ast.Module([n for n in kept.body if not hasattr(n, "body")], []))}
    found = {name if name in modules else name.rpartition(".")[0] for name in names}
    return (found & modules) - {"brain_diffusion_jax"}  # of which only __version__ is imported


def circles(edges: dict[str, set[str]]) -> list[list[str]]:
    """One walk around each circle that a search from the start of every module meets."""
    found: list[list[str]] = []
    state: dict[str, int] = {}

    def visit(name: str, trail: list[str]) -> None:
        state[name] = 1
        for other in sorted(edges[name]):
            if state.get(other) == 1:
                found.append([*trail[trail.index(other) :], other])
            elif other not in state:
                visit(other, [*trail, other])
        state[name] = 2

    for name in sorted(edges):
        if name not in state:
            visit(name, [name])
    return found


def _module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_a_circle_is_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == [["b", "c", "b"]]
    assert circles({"a": {"a"}, "b": {"a"}}) == [["a", "a"]]
    assert not circles({"a": {"b", "c"}, "b": {"c"}, "c": set()})


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Imports inside functions count: they hide a circle and do not remove it."""
    names = {_module_name(path): path for path in FILES}
    assert not circles({name: _modules_imported(path, set(names)) for name, path in names.items()})


def test_only_the_command_line_knows_argparse() -> None:
    assert not [
        path
        for path in FILES
        if path.relative_to(PACKAGE).parts[0] != "cli"
        and any(name.split(".")[0] == "argparse" for name, _ in imports(ast.parse(path.read_text(encoding="utf-8"))))
    ]


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


def test_evaluation_knows_no_covariate_by_name() -> None:
    """What a covariate is to a study follows from its kind and unit, or from the settings."""
    found = set()
    for path in (PACKAGE / "evaluation").rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
        named = [c for c in calls if getattr(c.func, "attr", "") in ("column", "has", "varies")]
        constants = [a for c in named for a in c.args if isinstance(a, ast.Constant)]
        keys = [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and node.value in ("age", "sex")]
        found |= {f"{path.relative_to(PACKAGE)}:{node.lineno}: {node.value}" for node in constants + keys}
    # Columns in the tables of `predict-age`, whose subject is age.
    tables = {"evaluation/probes/age_prediction.py", "evaluation/report/age_tables.py"}
    assert {place.partition(":")[0] for place in found} <= tables, found
