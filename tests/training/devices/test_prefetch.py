"""Batches ahead of need: their order, numbers and states, what is passed over, and errors of the loader."""

from __future__ import annotations

import itertools
import threading

import numpy as np
import pytest

from brain_diffusion_jax.training.devices.prefetch import Prefetch


class Counting:
    """Batch k holds k; from `last` on the data are broken."""

    def __init__(self, last: int = 1000) -> None:
        self.next, self.last = 0, last

    def __next__(self) -> dict[str, np.ndarray]:
        if self.next == self.last:
            raise OSError("the disk is gone")
        self.next += 1
        return {"x": np.array(self.next - 1)}

    def get_state(self) -> int:
        return self.next

    def set_state(self, state: int) -> None:
        self.next = state


def placed(arrays: dict[str, np.ndarray]) -> int:
    return int(arrays["x"]) * 10


def test_every_batch_has_its_number_and_the_state_that_follows_it() -> None:
    batches = Prefetch(Counting(), placed, first=0, skip=[1, 2])
    found = [(b.batch, b.loader_state, b.number) for b in itertools.islice(batches, 3)]
    batches.close()
    assert found == [(0, 1, 0), (30, 4, 3), (40, 5, 4)]


def test_an_error_of_the_loader_is_raised_where_the_batch_is_wanted() -> None:
    batches = iter(Prefetch(Counting(2), placed))
    assert [next(batches).batch, next(batches).batch] == [0, 10]
    with pytest.raises(OSError, match="the disk is gone"):
        next(batches)


def test_closing_ends_the_thread_and_no_more_than_the_depth_is_read_ahead() -> None:
    loader = Counting()
    batches = Prefetch(loader, placed, depth=2)
    next(iter(batches))
    batches.close()
    assert loader.next <= 5
    assert not any(thread.name == "prefetch" and thread.is_alive() for thread in threading.enumerate())
