"""What all sources made of a cohort's files share: entries, names of parts, what was left out."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from brain_diffusion_jax.covariates import Schema
from brain_diffusion_jax.data.prepare import nifti_file
from brain_diffusion_jax.data.prepare.pipeline import PIPELINE_VERSION
from brain_diffusion_jax.data.sources.cohort import Cohort
from brain_diffusion_jax.data.sources.source import Entry


class Recipe(Protocol):
    """How a file becomes examples. drop_bad: files that cannot are left out; expected: what a file is, for messages."""

    @property
    def drop_bad(self) -> bool: ...

    @property
    def expected(self) -> str: ...

    def to_json(self) -> dict[str, Any]:
        """All that decides stored values."""
        ...


R = TypeVar("R", bound=Recipe)


@dataclasses.dataclass(frozen=True)
class Scans(Generic[R]):
    """The part of a `Source` that does not depend on what a file becomes.

    description: a line for the contract saying where the data come from.
    """

    cohort: Cohort
    preparation: R
    schema: Schema
    description: str = ""

    @property
    def where(self) -> Path:
        """The cohort's table."""
        return self.cohort.table

    @property
    def dropped(self) -> Sequence[tuple[str, str]]:
        """Rows and files that the cohort left out."""
        return self.cohort.dropped

    @property
    def drop_bad(self) -> bool:
        """As the recipe says."""
        return self.preparation.drop_bad

    def entries(self) -> list[Entry]:
        """One entry a scan; its group is the person."""
        return [Entry(scan.scan, scan.person, scan.covariates, scan.path) for scan in self.cohort.scans]

    def part_name(self, entry: Entry) -> str:
        """Another file, time, size or preparation is another name; InputError where there is no file to read."""
        stat = nifti_file.require_file(entry.path, self.preparation.expected)
        key = [str(entry.path.resolve()), stat.st_size, stat.st_mtime_ns, self.preparation.to_json(), PIPELINE_VERSION]
        digest = hashlib.sha256(json.dumps([*key, *self._more_key()], sort_keys=True).encode()).hexdigest()[:20]
        readable = "".join(c if c.isalnum() or c in "-_" else "_" for c in entry.id)[:60]
        return f"{readable}-{digest}.npz"

    def _more_key(self) -> list[Any]:
        """What else a part depends on."""
        return []
