"""Every setting that a config file may hold has a reader in the package."""

from __future__ import annotations

import ast
import functools
import inspect
from collections.abc import Iterator
from dataclasses import field, is_dataclass, make_dataclass
from pathlib import Path

import pytest

from brain_diffusion_jax.config import derive
from brain_diffusion_jax.config.defaults import COHORT, PREPARE, config_class
from brain_diffusion_jax.evaluation.study.study_settings import StudyConfig
from brain_diffusion_jax.tasks.gan.objectives import OBJECTIVES
from brain_diffusion_jax.tasks.run_config import GeneratorConfig
from brain_diffusion_jax.tasks.spec import TASKS
from brain_diffusion_jax.training.settings import SharedSettings

PACKAGE = Path(inspect.getfile(derive)).parents[1]


# What a command that reads a part of a config without its dataclass imports.
COMMANDS = {name: f"brain_diffusion_jax.config.defaults.{name.upper()}" for name in (PREPARE, COHORT)}
# Blocks of two networks know their settings by what both have (BlockConfig).
BLOCKS = dict.fromkeys(("autoencoder", "latent_diffusion"), "brain_diffusion_jax.models.unet_blocks")


def sections(declared: type, holders: frozenset[str] = frozenset()) -> Iterator[tuple[type, frozenset[str], str]]:
    """(dataclass, modules of the dataclasses that hold it, key) of every setting, those of inner sections too."""
    for one in derive._settings(declared):
        how, default = one.metadata.get("config"), derive._default(declared, one)
        inner = how if isinstance(how, type) else default if isinstance(default, type) else type(default)
        held = holders | {cls.__module__ for cls in declared.__mro__}
        if is_dataclass(inner):
            yield from sections(inner, held)
        else:
            yield declared, held, one.name


def _own_checks(tree: ast.Module) -> set[ast.AST]:
    """What stands in a __post_init__: a check of a setting is no use of it."""
    checks = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name == "__post_init__"]
    return {inner for check in checks for inner in ast.walk(check)}


def _words(nodes: list[ast.AST]) -> set[str]:
    """The strings of a module: names of attributes where it reads them by getattr."""
    return {n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)}


@functools.cache
def read_and_known() -> dict[str, tuple[frozenset[str], frozenset[str]]]:
    """Module -> (attributes that it reads, modules that it imports and itself), of the whole package."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        checks = _own_checks(tree)
        nodes = [n for n in ast.walk(tree) if n not in checks]
        reads = {n.attr for n in nodes if isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Load)}
        if any(isinstance(n, ast.Call) and getattr(n.func, "id", "") == "getattr" for n in nodes):
            reads |= _words(nodes)
        froms = [n for n in nodes if isinstance(n, ast.ImportFrom) and n.module]
        imported = {name for n in froms for name in (n.module, *(f"{n.module}.{a.name}" for a in n.names))}
        own = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        found[own] = frozenset(reads), frozenset({own, *imported})
    return found


def unread(declared: type, readers: frozenset[str] = frozenset()) -> list[str]:
    """Settings that are no attribute of anything in the modules that know their dataclass, or one that holds it.

    readers: names whose import makes a module know all of `declared`.
    """
    return [
        f"{owner.__name__}.{key}"
        for owner, holders, key in sections(declared, readers)
        if not any(key in reads and known & holders for reads, known in read_and_known().values())
    ]


@pytest.mark.parametrize("name", [*TASKS, PREPARE, COHORT])
def test_every_setting_has_a_reader(name: str) -> None:
    found = unread(config_class(name), frozenset({(COMMANDS | BLOCKS).get(name, "")}))
    # The section of a GAN is handed on to the dataclass of its objective, which has the same settings.
    own = {f"GanModel.{f.name}" for declared in OBJECTIVES.values() for f in derive._settings(declared)}
    assert set(found) - own == set()


@pytest.mark.parametrize("objective", sorted(OBJECTIVES))
def test_every_setting_of_an_objective_has_a_reader(objective: str) -> None:
    assert unread(OBJECTIVES[objective]) == []


@pytest.mark.parametrize("key", ["bootstraps", "learning_rate", "layout"])
def test_a_setting_that_nobody_reads_is_found_also_where_its_name_is_read_of_other_things(key: str) -> None:
    more = make_dataclass("More", [(key, int, 0)], bases=(StudyConfig,), frozen=True)
    section = ("study", more, field(default_factory=more))
    whole = make_dataclass("Whole", [section], bases=(GeneratorConfig,), frozen=True)
    more.__module__ = whole.__module__ = StudyConfig.__module__
    assert unread(GeneratorConfig) == []
    assert unread(whole) == [f"More.{key}"]


def test_a_setting_that_is_only_checked_has_no_reader() -> None:
    more = make_dataclass("More", [("on_nan_", str, "")], bases=(SharedSettings,), frozen=True)
    assert unread(more) == ["More.on_nan_"]
