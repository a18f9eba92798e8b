"""Windows' and macOS' habits: no modules that Windows lacks, no fork; the demo's first minute runs without them."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_runs

PACKAGE = Path(__file__).resolve().parents[1] / "brain_diffusion_jax"
FILES = sorted(PACKAGE.rglob("*.py"))
ABSENT = {"fcntl", "resource", "pwd", "grp", "termios", "syslog"}
CALLS = {
    "os.fork",
    "os.getuid",
    "os.geteuid",
    "os.killpg",
    "os.mkfifo",
    "signal.SIGALRM",
    "signal.alarm",
    "signal.SIGKILL",
}

# The top of the file runs in spawned workers, too.
DEMO = """
import multiprocessing, sys
for name in ("fcntl", "resource"):
    sys.modules[name] = None
if __name__ == "__main__":
    from brain_diffusion_jax.cli import demo
    from brain_diffusion_jax.cli.main import main
    from pathlib import Path
    multiprocessing.set_start_method("spawn")
    out = Path(sys.argv[1])
    demo.write_configs(demo.Options(out=out, people=12, steps=2), out)
    (phantom, prepare, train, *_) = [words for _, words in demo.slice_stages(out, 3)]
    assert main(phantom) == 0
    assert main([*prepare, "--workers", "2", "split.train=0.4", "split.validation=0.3", "split.test=0.3"]) == 0
    assert main([*train, *sys.argv[2:]]) == 0
    assert sys.modules["fcntl"] is None and sys.modules["resource"] is None
"""


def guarded(tree: ast.AST) -> set[ast.AST]:
    """Statements in a `try` that takes ImportError."""
    tries = [n for n in ast.walk(tree) if isinstance(n, ast.Try)]
    takes = [t for t in tries if any("ImportError" in ast.unparse(h.type) for h in t.handlers if h.type)]
    return {inner for t in takes for statement in t.body for inner in ast.walk(statement)}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_nothing_needs_what_windows_lacks(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    safe = guarded(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import) and node not in safe:
            assert not ABSENT & {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node not in safe:
            assert node.module not in ABSENT
        elif isinstance(node, ast.Attribute):
            assert ast.unparse(node) not in CALLS
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("get_context", "set_start_method")):
            assert [ast.literal_eval(argument) for argument in node.args] == ["spawn"]


def test_the_demo_begins_without_fcntl_and_resource_and_with_spawn(tmp_path):
    script = tmp_path / "begin.py"
    script.write_text(DEMO)
    small = [*tiny_runs.MODEL[:8], "data.batch_size=2", "train.num_steps=2"]
    words = [sys.executable, str(script), str(tmp_path / "demo"), *small]
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    done = subprocess.run(words, capture_output=True, text=True, timeout=1800, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "demo" / "model" / "checkpoints").is_dir()
    assert "no file locks on this system" in done.stderr
    assert "memory_gib" not in (tmp_path / "demo" / "model" / "metrics.jsonl").read_text()
