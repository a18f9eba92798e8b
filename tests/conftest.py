"""Fixtures every test may use; the only door through which real data reaches the tests."""

from __future__ import annotations

import contextlib
import gc
import os
from pathlib import Path

import pytest

# Small programs compile again and again in tests: keep them, and leave a core to the other worker.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
for threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(threads, "1")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path.home() / ".cache" / "brain-diffusion-tests"))
# One device, whatever training.host would choose. Programs are compiled as users' are: without optimisation
# (--xla_backend_optimization_level=0) they compile in half the time, but XLA's gradients of a small CNN were wrong.
os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=1")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")

REPOSITORY = Path(__file__).resolve().parent.parent


def shared_folder(name: str) -> Path | None:
    """The folder `name` of the real test data, or None where there is none."""
    given = os.environ.get("BRAIN_DIFFUSION_TEST_DATA")
    root = Path(given) if given else REPOSITORY.parent / "shared" / "data"
    return root / name if (root / name).is_dir() else None


@pytest.fixture
def real_data():
    """A function from a folder's name to its path; skips with a reason where the data are absent."""

    def find(name: str) -> Path:
        folder = shared_folder(name)
        if folder is None:
            pytest.skip(f"no real data folder {name!r}: set BRAIN_DIFFUSION_TEST_DATA")
        return folder

    return find


@pytest.fixture
def told(monkeypatch):
    """What the bars of a command are told: {stage: [(done, total), ...]}."""
    from brain_diffusion_jax.cli import progress

    found: dict[str, list[tuple[int, int]]] = {}

    @contextlib.contextmanager
    def stages(unit, **settings):
        yield lambda stage, done, total: found.setdefault(stage, []).append((done, total))

    monkeypatch.setattr(progress, "stages", stages)
    return found


def pytest_collection_modifyitems(items):
    """Slow tests first: at the end, where workers take tests from each other, two would make what a file shares."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def pytest_sessionfinish() -> None:
    """Five seconds after its last test a worker of xdist is interrupted. Where it still collected garbage then, the
    heap being full of programs, JAX's callback printed an ignored KeyboardInterrupt: what is alive stays, uncollected.
    """
    gc.freeze()


def _required() -> set[str]:
    """Marks whose tests must run: a skip of one of them is a failure ("parity,realdata")."""
    return set(filter(None, os.environ.get("BRAIN_DIFFUSION_REQUIRE", "").split(",")))


@pytest.hookimpl(hookwrapper=True)
def pytest_make_collect_report(collector):
    """A whole file that skips itself (importorskip at its top) has no tests whose marks could be asked."""
    outcome = yield
    report = outcome.get_result()
    if report.skipped and _required() & {"parity", "beam"}:
        report.outcome = "failed"
        report.longrepr = f"{collector.nodeid} skipped itself, but {sorted(_required())} must run: {report.longrepr}"


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Where $BRAIN_DIFFUSION_REQUIRE names a mark, a skip of such a test is a failure."""
    outcome = yield
    report = outcome.get_result()
    marks = _required() & {mark.name for mark in item.iter_markers()}
    if report.skipped and marks and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, but {sorted(marks)} must run: {report.longrepr}"
