"""Progress bars on stderr, silent where no terminal looks on."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any


@contextlib.contextmanager
def stages(unit: str, **settings: Any) -> Iterator[Callable[[str, int, int], None]]:
    """A function (stage, done, total); what has another total, or begins again, gets another bar."""
    from tqdm import tqdm

    with contextlib.ExitStack() as stack:
        bars: list[tqdm[Any]] = []

        def tell(stage: str, done: int, total: int) -> None:
            if not bars or bars[-1].total != total or done < bars[-1].n:
                bars.append(stack.enter_context(tqdm(unit=unit, total=total, **{"disable": None, **settings})))
            if stage:
                bars[-1].set_description(stage)
            bars[-1].update(done - bars[-1].n)

        yield tell


@contextlib.contextmanager
def bar_of(unit: str, **settings: Any) -> Iterator[Callable[[int, int], None]]:
    """A function (done, total)."""
    with stages(unit, **settings) as tell:
        yield lambda done, total: tell("", done, total)
