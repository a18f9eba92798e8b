"""Parts are written whole, kept over an interruption, made again where damaged, and bad entries are all named."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from brain_diffusion_jax.data.prepare import part_pool
from brain_diffusion_jax.data.prepare.intensity import Window
from brain_diffusion_jax.data.sources.source import Entry, Examples
from brain_diffusion_jax.errors import InputError


@dataclass
class Counted:
    """Entries 0 to 3, whose images hold their number; says which it prepared. bad: raise; stop: as Ctrl-C does."""

    bad: tuple[str, ...] = ()
    stop: str = ""
    drop_bad: bool = False
    prepared: list[str] = field(default_factory=list)

    def entries(self) -> list[Entry]:
        return [Entry(str(i), "p", {}, Path(f"{i}.nii")) for i in range(4)]

    def part_name(self, entry: Entry) -> str:
        return f"{entry.id}.npz"

    def prepare(self, entry: Entry) -> Examples:
        if entry.id == self.stop:
            raise KeyboardInterrupt
        if entry.id in self.bad:
            raise InputError(entry.path, "voxels", "nothing", "a head")
        self.prepared.append(entry.id)
        images = np.full((2, 3, 2, 1), int(entry.id), np.uint8)
        slices = {"slice": np.array([4.0, 5.5])}
        return Examples(images, np.array([4, 5], np.int32), slices, Window(0.0, 9.5), [f"note {entry.id}"])


def prepare(source, folder, counts=None):
    counts = [] if counts is None else counts
    return part_pool.prepare_parts(source, folder, workers=1, progress=lambda done, of: counts.append((done, of)))


def test_a_part_comes_back_as_it_was(tmp_path):
    source = Counted()
    examples = source.prepare(source.entries()[3])
    part_pool.save_part(tmp_path / "3.npz", examples)
    again = part_pool.load_part(tmp_path / "3.npz")
    np.testing.assert_array_equal(again.images, examples.images)
    assert again.images.dtype == np.uint8
    np.testing.assert_array_equal(again.indices, [4, 5])
    np.testing.assert_array_equal(again.supplied["slice"], [4.0, 5.5])
    assert again.window == Window(0.0, 9.5)
    assert list(again.notes) == ["note 3"]


@pytest.mark.filterwarnings("ignore:note")
def test_an_interrupted_call_goes_on_where_it_was(tmp_path):
    first = Counted(stop="2")
    with pytest.raises(KeyboardInterrupt):
        prepare(first, tmp_path)
    assert first.prepared == ["0", "1"]
    (tmp_path / ".3.npz.aa.part").write_bytes(b"what a killed writer left")
    second, counts = Counted(), []
    done = prepare(second, tmp_path, counts)
    assert second.prepared == ["2", "3"]
    assert counts == [(2, 4), (3, 4), (4, 4)]
    assert [(entry.id, name) for entry, name in done.parts] == [(str(i), f"{i}.npz") for i in range(4)]
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"{i}.npz" for i in range(4)]


@pytest.mark.filterwarnings("ignore:note")
def test_a_damaged_part_is_made_again(tmp_path):
    prepare(Counted(), tmp_path)
    whole = (tmp_path / "1.npz").read_bytes()
    (tmp_path / "1.npz").write_bytes(whole[: len(whole) // 2])
    again = Counted()
    prepare(again, tmp_path)
    assert again.prepared == ["1"]
    assert part_pool.load_part(tmp_path / "1.npz").images[0, 0, 0, 0] == 1


@pytest.mark.filterwarnings("ignore:note")
def test_all_bad_entries_are_named_or_dropped(tmp_path):
    with pytest.raises(InputError, match=r"1.nii: voxels: .*2 bad scans, also: 3.nii.*bad_scans=drop"):
        prepare(Counted(bad=("1", "3")), tmp_path)
    done = prepare(Counted(bad=("1", "3"), drop_bad=True), tmp_path)
    assert [entry.id for entry, _ in done.parts] == ["0", "2"]
    assert [name for name, _ in done.bad] == ["1", "3"]
    with pytest.raises(InputError, match="none of 4 could be prepared"):
        prepare(Counted(bad=("0", "1", "2", "3"), drop_bad=True), tmp_path / "other")
