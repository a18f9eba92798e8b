"""Batches placed on the devices ahead of need, each with the loader's state after it."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Collection, Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np


class Loader(Protocol):
    """What the loop needs of data: this process's part of endless batches, and a state to return to."""

    def __next__(self) -> dict[str, np.ndarray]: ...

    def get_state(self) -> Any:
        """The state from which the next batch follows; anything JSON can hold."""
        ...

    def set_state(self, state: Any) -> None:
        """Continue with the batch that followed `get_state`."""
        ...


class Placed(NamedTuple):
    """A batch on the devices. loader_state: yields the next batch; waited_s: blocked on data.

    number: of the batch since the run began, those that were skipped included.
    """

    batch: Any
    loader_state: Any
    number: int
    waited_s: float


_Item = tuple[Any, Any, int, BaseException | None]  # batch, loader's state, number; or an error


class Prefetch:
    """Iterates over `Placed`, `depth` ahead, in one thread. Closing it ends the thread.

    first: number of the loader's next batch. skip: numbers that are read and passed over.
    """

    def __init__(
        self,
        loader: Loader,
        prepare: Callable[[dict[str, np.ndarray]], Any],
        first: int = 0,
        skip: Collection[int] = (),
        depth: int = 2,
    ) -> None:
        self._queue: queue.Queue[_Item] = queue.Queue(depth)
        self._closed = threading.Event()
        self._thread = threading.Thread(
            target=self._work, args=(loader, prepare, first, frozenset(skip)), daemon=True, name="prefetch"
        )
        self._thread.start()

    def _work(
        self, loader: Loader, prepare: Callable[[dict[str, np.ndarray]], Any], number: int, skip: frozenset[int]
    ) -> None:
        try:
            while not self._closed.is_set():
                arrays = next(loader)
                if number not in skip:
                    self._put((prepare(arrays), loader.get_state(), number, None))
                number += 1
        except BaseException as error:
            self._put((None, None, number, error))

    def _put(self, item: _Item) -> None:
        while not self._closed.is_set():
            try:
                return self._queue.put(item, timeout=0.2)
            except queue.Full:
                continue

    def __iter__(self) -> Iterator[Placed]:
        while True:
            start = time.perf_counter()
            batch, loader_state, number, error = self._queue.get()
            if error is not None:
                raise error
            yield Placed(batch, loader_state, number, time.perf_counter() - start)

    def close(self) -> None:
        """End the thread; waits up to 10 s for a batch in preparation."""
        self._closed.set()
        self._thread.join(timeout=10)
