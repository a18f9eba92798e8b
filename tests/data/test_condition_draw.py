"""Conditions of a data set of any size: whole training rows, the same rows whatever the sharding."""

from __future__ import annotations

import numpy as np
import pytest

from brain_diffusion_jax.covariates import Schema
from brain_diffusion_jax.data.condition_draw import ConditionDraw, row_seed, shard_rows, table_rows
from brain_diffusion_jax.errors import InputError

SCHEMA = Schema.from_json(
    [
        {"name": "age", "unit": "years", "low": 20, "high": 90},
        {"name": "sex", "values": ["F", "M"]},
        {"name": "ventricles", "unit": "MNI-scaled mm3", "low": 1000, "high": 70000},
    ]
)
AGES = np.linspace(25, 85, 31)
# Everything follows from the age, so that a row that was put together from two people would show.
PEOPLE = [
    {"age": age, "sex": "FM"[i % 2], **({} if i % 3 == 0 else {"ventricles": 500 * age})} for i, age in enumerate(AGES)
]


def draw(**keys) -> ConditionDraw:
    values, present = SCHEMA.encode(PEOPLE)
    return ConditionDraw(SCHEMA, values, present, **keys)


def test_every_row_is_a_whole_training_row():
    drawn = [row.condition for row in draw(seed=3).rows(range(2000))]
    known = {round(p["age"], 3): p for p in PEOPLE}
    counts = dict.fromkeys(known, 0)
    for condition in drawn:
        person = known[round(condition["age"], 3)]
        counts[round(condition["age"], 3)] += 1
        assert set(condition) == set(person)  # what was missing stays absent
        assert condition["sex"] == person["sex"]
        assert condition.get("ventricles", 0) == pytest.approx(person.get("ventricles", 0), rel=1e-5)
    assert min(counts.values()) > 2000 / 31 / 2  # everybody alike often


@pytest.mark.parametrize("parts", [1, 3, 7])
def test_any_sharding_gives_the_same_rows(parts):
    whole = list(draw(seed=5).rows(shard_rows(20)))
    pieces = [row for i in range(parts) for row in draw(seed=5).rows(shard_rows(20, f"{i}/{parts}"))]
    assert sorted(pieces) == whole
    assert [row.row for row in whole] == list(range(20))
    assert draw(seed=5).row(13) == whole[13]  # by itself, and however many there are


def test_seeds_give_other_rows_and_every_row_its_own_noise():
    mine, other = (draw(seed=s) for s in (0, 1))
    assert [r.condition for r in mine.rows(range(50))] != [r.condition for r in other.rows(range(50))]
    seeds = [{row_seed(s, row) for row in range(100_000)} for s in (0, 1)]
    assert [len(found) for found in seeds] == [100_000, 100_000]
    assert len(seeds[0] & seeds[1]) < 100
    assert all(0 <= value < 2**32 for value in seeds[0])
    assert mine.row(7).seed == row_seed(0, 7)


def test_a_spread_moves_numbers_within_the_range_that_was_seen():
    plain, spread = (list(draw(seed=2, spread=s).rows(range(1500))) for s in (0.0, 0.05))
    moved = np.array([b.condition["age"] - a.condition["age"] for a, b in zip(plain, spread, strict=True)])
    assert [a.condition["sex"] for a in plain] == [b.condition["sex"] for b in spread]
    ages = np.array([row.condition["age"] for row in spread])
    assert (ages.min(), ages.max()) == (pytest.approx(25, abs=1e-4), pytest.approx(85, abs=1e-4))
    assert moved.std() == pytest.approx(0.05 * 70, rel=0.1)
    assert all(row.condition["ventricles"] >= 500 * AGES[1] - 1 for row in spread if "ventricles" in row.condition)


def test_bad_requests_are_refused():
    for text in ("4/4", "1", "a/2", "-1/2", "0/0"):
        with pytest.raises(InputError, match="--shard: found"):
            shard_rows(10, text)
    with pytest.raises(InputError, match="spread"):
        draw(spread=-0.1)
    with pytest.raises(InputError, match="seed"):
        draw(seed=-1)
    with pytest.raises(InputError, match="no rows"):
        ConditionDraw(SCHEMA, np.zeros((0, 3)), np.zeros((0, 3), bool))


def test_a_users_table_is_read_row_by_row(tmp_path):
    path = tmp_path / "wanted.csv"
    path.write_text("age,sex,ventricles\n70.5,female,40000\n30,M,\n")
    rows = table_rows(path, SCHEMA, seed=4)
    assert [row.condition for row in rows] == [
        {"age": 70.5, "sex": "F", "ventricles": 40000.0},
        {"age": 30.0, "sex": "M"},
    ]
    assert [row.seed for row in rows] == [row_seed(4, 0), row_seed(4, 1)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("age,sex\n70,1\n", r"wanted.csv, line 2: sex: found '1'; expected one of F, M"),
        ("age,sex\n70,F\nold,M\n", r"wanted.csv, line 3: age: found 'old'"),
        (
            "age,ventricles\n70,0.02\n",
            r"line 2: ventricles: found 0.02: a fraction.*expected a number in MNI-scaled mm3",
        ),
        ("age,ventrcles\n70,20000\n", r"wanted.csv: header: found column 'ventrcles'; expected nearest: ventricles"),
    ],
)
def test_bad_cells_are_named_by_line_and_column(text, words, tmp_path):
    path = tmp_path / "wanted.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=words):
        table_rows(path, SCHEMA)
