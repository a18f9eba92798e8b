"""--set and --conditions: what is understood, what is refused, and where the message points."""

from __future__ import annotations

import argparse

import pytest

from brain_diffusion_jax.cli import parsing
from brain_diffusion_jax.cli.options import ConditionOptions
from brain_diffusion_jax.covariates import Schema
from brain_diffusion_jax.errors import InputError

SCHEMA = Schema.from_json(
    [{"name": "age", "unit": "years", "low": 18, "high": 96}, {"name": "sex", "values": ("F", "M")}]
)


def asked(*words: str) -> list[dict]:
    parser = argparse.ArgumentParser()
    parsing.declare(parser, ConditionOptions)
    return parsing.parse(parser, ConditionOptions, words).read(SCHEMA)


def in_table(tmp_path, text: str | bytes) -> list[dict]:
    path = tmp_path / "wanted.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return asked("--conditions", str(path))


@pytest.mark.parametrize("word", ["age=", "age=,", "age=20,", "age=,20", "age=20,,40", "age", "age= ,"])
def test_an_empty_value_is_refused_and_not_unconditional(word):
    with pytest.raises(InputError, match=f"--set: age: found {word!r}; expected name=value"):
        asked("--set", word)


def test_words_are_understood_as_in_cohorts(tmp_path):
    assert asked("--set", "sex=f,Female,m,MALE") == [{"sex": s} for s in "FFMM"]
    rows = in_table(tmp_path, "\ufeffAge;sex\r\n70.1;female\r\n;m\r\n20;\r\n".replace("Age", "age"))
    assert rows == [{"age": 70.1, "sex": "F"}, {"sex": "M"}, {"age": 20.0}]
    assert asked() == [{}]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("age,sex\n70,F,9\n", "wanted.csv: line 2: found 3 cells; expected 2"),
        ("age,sex\n70,F\n\n20,X\n", "wanted.csv, line 4: sex: found 'X'; expected one of F, M"),
        ("age,sex\nold,F\n", "wanted.csv, line 2: age: found 'old'; expected a number in years"),
        ("age,sexx\n70,F\n", "wanted.csv: header: found column 'sexx'; expected nearest: sex"),
        ("age,sex\n70,F\n,\n", "wanted.csv, line 3: condition: found blank cells only"),
        (b"age,sex\n70,F\n20,\xe9\n", "wanted.csv: --conditions: found line 3: byte 0xe9 is not UTF-8"),
        ("age,sex\n", "wanted.csv: rows: found none"),
    ],
)
def test_messages_name_file_and_line(tmp_path, text, message):
    with pytest.raises(InputError) as caught:
        in_table(tmp_path, text)
    assert message in str(caught.value)


def test_messages_of_set():
    with pytest.raises(InputError, match="--set: sex: found 'X'; expected one of F, M"):
        asked("--set", "sex=X")
    with pytest.raises(InputError, match="no such file"):
        asked("--conditions", "nowhere.csv")
