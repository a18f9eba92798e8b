"""A table of pictures to shards: any covariates, absent values, groups, colour, depth; and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_pictures import head

from brain_diffusion_jax.api.preparation import open_source, prepare
from brain_diffusion_jax.config import apply_overrides, base_config
from brain_diffusion_jax.data.prepare.picture_prep import to_square
from brain_diffusion_jax.data.shards.reader import read_all
from brain_diffusion_jax.data.table import write_table
from brain_diffusion_jax.errors import InputError

SIZE = 24
COVARIATES = (
    {"name": "finding", "values": ("none", "mass")},
    {"name": "severity", "unit": "share", "low": 0.0, "high": 1.0},
    {"name": "view", "values": ("front", "side")},
)
HEADER = ("file", "group", "finding", "severity", "view")


def picture(folder: Path, number: int, kind: str = "grey") -> str:
    grey = head(number, 40, 30)
    if kind == "colour":
        grey = np.stack([grey, grey // 2, 255 - grey], -1)
    if kind == "deep":
        grey = (grey.astype(np.uint16) * 16) + 1000  # 12 bits in a file of 16
    Image.fromarray(grey).save(folder / f"p{number}.png")
    return f"p{number}.png"


def write_set(folder: Path, kind: str = "grey", count: int = 12, header=HEADER, change=lambda row: row) -> Path:
    """Pairs of pictures of one group; every third severity is not known."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for i in range(count):
        severity = "" if i % 3 == 0 else f"{i / count:.2f}"
        row = (picture(folder, i, kind), f"g{i // 2}", ("none", "mass")[i % 2], severity, ("front", "side")[i % 3 == 1])
        rows.append(change(row))
    write_table(folder / "pictures.tsv", header, rows, "\t")
    return folder / "pictures.tsv"


def config(table: Path, *overrides: str):
    c = base_config()
    c.covariates = COVARIATES
    settings = (f"pictures.size={SIZE}", "cohort.bad_ages=absent", f"pictures.root={table}", *overrides)
    return apply_overrides(c, settings)


def test_rows_become_shards_with_every_covariate_and_groups_on_one_side(tmp_path: Path) -> None:
    table = write_set(tmp_path / "set", count=40)
    made = prepare(config(table, "split.train=0.5", "split.validation=0.2", "split.test=0.3"), out=tmp_path / "shards")
    assert (made.contract.kind, made.contract.image_size, made.contract.channels) == ("pictures", (SIZE, SIZE), 1)
    sides = [read_all(tmp_path / "shards", name) for name in ("train", "validation", "test")]
    assert sum(len(side["image"]) for side in sides) == 40
    people = [set(side["person"]) for side in sides]
    assert sum(map(len, people)) == len(set.union(*people)) == 20
    for side in sides:
        for image, condition, name in zip(side["image"], side["conditions"], side["scan"], strict=True):
            number = int(Path(name).stem[1:])
            np.testing.assert_array_equal(image[..., 0], to_square(head(number, 40, 30), SIZE))
            expected = {"finding": ("none", "mass")[number % 2], "view": ("front", "side")[number % 3 == 1]}
            if number % 3:
                expected["severity"] = round(number / 40, 2)
            assert {k: v if isinstance(v, str) else round(v, 2) for k, v in condition.items()} == expected


def test_colour_is_three_channels(tmp_path: Path) -> None:
    source = open_source(config(write_set(tmp_path, "colour"), "pictures.colour=True"))
    assert source.contract().channels == 3
    (image,) = source.prepare(source.entries()[0]).images
    assert image.shape == (SIZE, SIZE, 3)
    middle = image[SIZE // 2, SIZE // 2].astype(int)
    assert abs(middle[0] - 2 * middle[1]) <= 2
    assert abs(middle[0] + middle[2] - 255) <= 1


def test_more_than_eight_bits_need_a_window(tmp_path: Path) -> None:
    table = write_set(tmp_path, "deep")
    source = open_source(config(table))
    with pytest.raises(InputError, match=r"p0\.png.*depth: found more than 8 bits.*pictures\.window"):
        source.prepare(source.entries()[0])
    low, high = 1000 / 65535, (1000 + 255 * 16) / 65535
    source = open_source(config(table, f"pictures.window=({low},{high})"))
    (image,) = source.prepare(source.entries()[0]).images
    np.testing.assert_array_equal(image[..., 0], to_square(head(0, 40, 30), SIZE))


def test_another_preparation_is_another_part(tmp_path: Path) -> None:
    table = write_set(tmp_path)
    sources = [
        open_source(config(table, *more)) for more in ((), ("pictures.window=(0.1,0.9)",), ("pictures.size=16",))
    ]
    assert len({source.part_name(source.entries()[0]) for source in sources}) == 3


@pytest.mark.parametrize(
    ("kind", "overrides", "words"),
    [
        ("colour", (), r"p0\.png.*colours: found .* coloured; expected grey"),
        ("grey", ("pictures.colour=True",), r"p0\.png.*colours: found L; expected RGB"),
    ],
)
def test_the_wrong_colours_are_refused(tmp_path: Path, kind: str, overrides: tuple[str, ...], words: str) -> None:
    source = open_source(config(write_set(tmp_path, kind), *overrides))
    with pytest.raises(InputError, match=words):
        source.prepare(source.entries()[0])


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (("pictures.window=(0.9,0.1)",), r"pictures: window: found \(0\.9, 0\.1\)"),
        (("pictures.colour=True", "pictures.crop=True"), "crop, tilt: found a step for grey heads"),
        (("cohort.columns.view=position",), r"view: found no column 'position'"),
        (("cohort.bad_ages=refuse",), r"severity: found .*missing"),
    ],
)
def test_settings_that_do_not_fit_are_refused(tmp_path: Path, overrides: tuple[str, ...], words: str) -> None:
    with pytest.raises(InputError, match=words):
        open_source(config(write_set(tmp_path), *overrides))


def test_a_table_without_groups_or_pictures_is_refused(tmp_path: Path) -> None:
    alone = write_set(tmp_path / "a", header=("file", "whose", *HEADER[2:]))
    with pytest.raises(InputError, match=r"group: found columns file, whose.*cohort\.columns\.person=COLUMN"):
        open_source(config(alone))
    assert len(open_source(config(alone, "cohort.columns.person=whose")).cohort.people) == 6
    gone = write_set(tmp_path / "b", change=lambda row: (f"no-{row[0]}", *row[1:]))
    with pytest.raises(InputError, match=r"scans: found none of 12 rows usable.*no file"):
        open_source(config(gone))
    with pytest.raises(InputError, match=r"pictures\.root: found no such file"):
        open_source(config(tmp_path / "none.tsv"))
    with pytest.raises(InputError, match=r"colour: found True; expected a table of pictures"):
        open_source(config(tmp_path, "pictures.colour=True"))


def test_damaged_pictures_are_refused_or_dropped_and_named(tmp_path: Path) -> None:
    table = write_set(tmp_path / "set", count=30)
    (tmp_path / "set" / "p3.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"p3\.png"):
        prepare(config(table), out=tmp_path / "one")
    made = prepare(config(table, "pictures.bad_pictures=drop"), out=tmp_path / "two")
    assert sum(len(read_all(made.folder, name)["image"]) for name in ("train", "validation", "test")) == 29
    assert "p3.png" in (tmp_path / "two" / "dropped.csv").read_text()
