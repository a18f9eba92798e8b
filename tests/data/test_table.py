"""Tables as people's programs write them: what is read, what is refused, and that writing comes back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brain_diffusion_jax.data.table import read_table, write_table
from brain_diffusion_jax.errors import InputError


def read(tmp_path, text: str | bytes, name: str = "people.csv"):
    """(header, cells of each row, line of each row)."""
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    header, rows = read_table(tmp_path / name)
    return header, [[row.get(column) for column in header] for row in rows], [row.line for row in rows]


@pytest.mark.parametrize(("name", "mark"), [("a.tsv", "\t"), ("a.csv", ","), ("a.csv", ";"), ("a.csv", "\t")])
@pytest.mark.parametrize("stray", ['"late', '"', 'said "late"', '"late" yesterday', 'la"te', '""late'])
@pytest.mark.parametrize("other", ["fine", '"early', '"whole"'])
def test_a_stray_quote_joins_nobody(tmp_path, name, mark, stray, other):
    notes = ["fine", "fine", stray, "fine", other, "fine", "fine", "fine"]
    lines = ["id,note,age".replace(",", mark), *(f"p{i}{mark}{note}{mark}{20 + i}" for i, note in enumerate(notes))]
    _, rows, numbers = read(tmp_path, "\n".join(lines) + "\n", name)
    assert [row[0] for row in rows] == [f"p{i}" for i in range(8)]
    assert [row[2] for row in rows] == [str(20 + i) for i in range(8)]
    assert numbers == list(range(2, 10))
    assert rows[2][1] == stray
    assert rows[4][1] == other.strip('"') or other == '"early'


def test_quotes_that_would_join_rows_are_text_in_a_tsv_and_refused_in_a_csv(tmp_path):
    lines = ["id,age,note", 'a,30,"late', "b,40,fine", 'c,50,too late"', "d,60,fine"]
    _, rows, _ = read(tmp_path, "\n".join(lines).replace(",", "\t"), "a.tsv")
    assert [row[2] for row in rows] == ['"late', "fine", 'too late"', "fine"]
    with pytest.raises(InputError, match=r"people.csv: line 2: found a quote that joins it with the next 2 lines"):
        read(tmp_path, "\n".join(lines))


def test_line_ends_within_quotes_stay_in_their_cell_and_leave_the_header(tmp_path):
    text = 'id,"Age\r\n(years)","say ""sex"""\r\na,30,"x\r\ny, z"\r\n\r\nb,40,\r\n'
    header, rows, numbers = read(tmp_path, text)
    assert header == ["id", "Age (years)", 'say "sex"']
    assert rows == [["a", "30", "x\r\ny, z"], ["b", "40", ""]]
    assert numbers == [3, 6]


@pytest.mark.parametrize("sign", ["\u2028", "\u2029", "\x0b", "\x0c", "\x85", "\x1c", "\x1e"])
def test_only_line_ends_end_a_line(tmp_path, sign):
    assert read(tmp_path, f"id,note\na,one{sign}two\nb,x\n")[1] == [["a", f"one{sign}two"], ["b", "x"]]


def test_a_cell_of_any_length(tmp_path):
    long = "x" * 200_000
    assert read(tmp_path, f'id,note\na,"{long}"\nb,{long}\n')[1] == [["a", long], ["b", long]]


@pytest.mark.parametrize(
    ("text", "header", "rows"),
    [
        ("id,age,,\na,30,,\nb,40,,\n", ["id", "age"], [["a", "30"], ["b", "40"]]),
        ("id,age\na,30,,\nb,40,,\n", ["id", "age"], [["a", "30"], ["b", "40"]]),
        ("sep=;\nid;age\na;30\n", ["id", "age"], [["a", "30"]]),
        ('"sep=|"\r\nid|a,g,e\r\na|30\r\n', ["id", "a,g,e"], [["a", "30"]]),
        (",id,age\n1,a,30\n2,b,40\n", ["id", "age"], [["a", "30"], ["b", "40"]]),
        ("\ufeffid;age\ra;30\r\rb;40\r", ["id", "age"], [["a", "30"], ["b", "40"]]),
        ("id,age\na,30\n,\n , \n", ["id", "age"], [["a", "30"]]),
    ],
)
def test_habits_of_spreadsheets(tmp_path, text, header, rows):
    assert read(tmp_path, text)[:2] == (header, rows)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,age,,\na,30,,\nb,late,40,\n", "line 3: found '40' below no column name"),
        ("id,age\n1,a,30\n2,b,40\n", "line 2: found 3 cells; expected 2"),
        ("id,age\na,30,\nb,40\n", "line 2: found 3 cells; expected 2"),
        ("sep=;\nid;age\na\n", "line 3: found 1 cells; expected 2"),
        (b"id,age\na,30\nJos\xe9,40\n", "table: found line 3: byte 0xe9 is not UTF-8; expected UTF-8 text"),
        ("id,age\na,30\n".encode("utf-16"), "is not UTF-8"),
        (b"id,age\na,3\x000\n", "line 2: found a NUL byte"),
        ("", "header: found nothing"),
        ("id,id\na,b\n", "columns ['id'] twice"),
        ("id,age\n,,\n", "rows: found none"),
    ],
)
def test_what_is_no_table_is_refused_with_its_line(tmp_path, text, message):
    with pytest.raises(InputError) as caught:
        read(tmp_path, text)
    assert message in str(caught.value)


FORMULAS = ['=HYPERLINK("http://x.example","age")', "+1+1", "-2+3", "@SUM(A1)", "'=x", "''=x", "＝1", "'-5"]


@pytest.mark.parametrize("mark", [",", "\t"])
def test_no_cell_starts_a_formula_and_all_come_back(tmp_path, mark):
    path = tmp_path / ("a.csv" if mark == "," else "a.tsv")
    cells = [*FORMULAS, "-5", "-", "+3.5e-7", "-inf", "a,b", 'a"b', '"late', "a\r\nb", "'quoted'", "a\tb"]
    write_table(path, ["id", "=1", "none"], ([cell, "", None] for cell in cells), mark)
    header, rows = read_table(path)
    assert header == ["id", "=1", "none"]
    assert [row.get("id") for row in rows] == cells
    for line in path.read_text().splitlines():
        assert not line.lstrip('"').startswith(("=", "+1+", "-2+", "@", "＝"))
    assert "-5" in path.read_text().splitlines()[9].split(mark)  # a number stays one


@given(st.lists(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r\n"), max_size=8),
                         min_size=3, max_size=3), min_size=1, max_size=4))  # fmt: skip
def test_what_is_written_is_read(tmp_path_factory, cells):
    path = tmp_path_factory.getbasetemp() / "any.csv"
    rows = [[f"p{i}", *(cell.strip() for cell in row)] for i, row in enumerate(cells)]
    write_table(path, ["id", "a", "b", "c"], rows)
    assert [list(row.cells.values()) for row in read_table(path)[1]] == rows
