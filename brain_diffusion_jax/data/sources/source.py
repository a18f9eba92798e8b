"""The seam between what there is (scans, images) and shards: a source lists entries and prepares each.

Nothing behind this seam knows slices, images or volumes; the writer serves any source.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from jaxtyping import Int, Shaped

from brain_diffusion_jax.contract import Contract
from brain_diffusion_jax.data.prepare.intensity import Window


class Entry(NamedTuple):
    """One item of a source, such as a scan; it gives one example or many.

    id: unique in the source. group: what must stay on one side of a split: a person, or copies of one image.
    conditions: covariate -> value, unknown ones left out. path: the file, for messages.
    """

    id: str
    group: str
    conditions: Mapping[str, float | str]
    path: Path


class Examples(NamedTuple):
    """What an entry gives. images: [n, *spatial, channels] as stored; indices: slice of each, 0 where there is none.

    supplied: covariate -> [n] values that the source adds to the entry's conditions, such as the slice; NaN is absent.
    window: what stored 0 and full scale mean. notes: what the user should know of this entry.
    """

    images: Shaped[np.ndarray, "n *spatial channels"]
    indices: Int[np.ndarray, " n"]
    supplied: Mapping[str, np.ndarray]
    window: Window
    notes: Sequence[str] = ()


class Source(Protocol):
    """Everything that becomes shards; pickled into workers. Volumes, slices and images are three of it."""

    @property
    def where(self) -> Path:
        """The table or folder, for messages."""
        ...

    @property
    def dropped(self) -> Sequence[tuple[str, str]]:
        """(row or file, reason) of everything left out so far."""
        ...

    @property
    def drop_bad(self) -> bool:
        """Whether entries that cannot be prepared are left out instead of refused."""
        ...

    def entries(self) -> Sequence[Entry]:
        """All entries, in order."""
        ...

    def part_name(self, entry: Entry) -> str:
        """File name of the prepared entry; another content or preparation is another name.

        Raises InputError where there is nothing to read.
        """
        ...

    def prepare(self, entry: Entry) -> Examples:
        """The entry's examples; raises InputError naming its file."""
        ...

    def contract(self) -> Contract:
        """What the examples mean; without split, counts and fingerprint, which the writer adds."""
        ...


class Measured(Protocol):
    """Covariates read off the examples themselves, by an instrument that is kept; pickled into workers."""

    def supply(self, examples: Examples) -> Examples:
        """The examples with the covariates in `supplied`."""
        ...

    def described(self, contract: Contract) -> Contract:
        """The contract with what is measured and by what (`Contract.measured`)."""
        ...

    def save(self, folder: Path) -> None:
        """Keep the instrument beside the shards."""
        ...


class Measuring(Protocol):
    """Makes the instrument from training people, who are known only once entries are shared out."""

    def fitted(
        self, train: Sequence[Entry], load: Callable[[Entry], Examples], contract: Contract, where: object
    ) -> Measured:
        """The instrument, learned from entries of training people alone; `load` gives the examples of one."""
        ...
