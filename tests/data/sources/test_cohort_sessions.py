"""Follow-up scans get the age of their own session, in the unit that the side-car states."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest

from brain_diffusion_jax.covariates import Schema
from brain_diffusion_jax.data.sources.cohort import CohortSpec, read_cohort
from brain_diffusion_jax.data.sources.cohort_sessions import label, session_of
from brain_diffusion_jax.errors import InputError

PEOPLE = "participant_id\tage\tsex\nsub-a\t30\tF\nsub-b\t40\tM\n"


def bids(folder: Path, people: str = PEOPLE, sessions: str = "", units: str = "", **side_cars) -> CohortSpec:
    """Sub-a scanned in ses-01 and ses-02, sub-b once without a session; sessions: the table of sub-a."""
    for name in ("sub-a_ses-01", "sub-a_ses-02", "sub-b"):
        path = folder.joinpath(*name.split("_"), "anat", f"{name}_T1w.nii.gz")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    (folder / "participants.tsv").write_text(people)
    if sessions:
        (folder / "sub-a" / "sub-a_sessions.tsv").write_text(sessions)
    if units:
        (folder / "participants.json").write_text(json.dumps({"age": {"Units": units}}))
    return CohortSpec(root=str(folder), **side_cars)


def ages(spec: CohortSpec) -> dict[str, float | str | None]:
    return {scan.scan: scan.covariates.get("age") for scan in read_cohort(spec).scans}


def test_the_age_of_each_session_is_read_from_the_sessions_table(tmp_path):
    spec = bids(tmp_path, sessions="session_id\tage\nses-02\t45.5\nses-01\t30.5\n")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ages(spec) == {"sub-a_ses-01": 30.5, "sub-a_ses-02": 45.5, "sub-b": 40}


@pytest.mark.parametrize("header", ["age_ses-01\tage_ses-02", "age_ses1\tAge_Session2", "ses-1_age\tses-2_age"])
def test_the_age_of_each_session_is_read_from_columns(tmp_path, header):
    people = f"participant_id\tage\tage2\tsex\t{header}\nsub-a\t30\t900\tF\t30.5\t45.5\nsub-b\t40\t1600\tM\tn/a\tn/a\n"
    assert ages(bids(tmp_path, people)) == {"sub-a_ses-01": 30.5, "sub-a_ses-02": 45.5, "sub-b": 40}


def test_a_row_for_each_session(tmp_path):
    people = "participant_id\tsession_id\tage\tsex\nsub-a\t1\t30\tF\nsub-a\tses-02\t45\tF\nsub-b\tn/a\t40\tM\n"
    assert ages(bids(tmp_path, people)) == {"sub-a_ses-01": 30, "sub-a_ses-02": 45, "sub-b": 40}
    people = people.replace("ses-02", "ses-03")
    with pytest.warns(UserWarning, match="without a"):
        cohort = read_cohort(bids(tmp_path, people))
    assert [s.scan for s in cohort.scans] == ["sub-a_ses-01", "sub-b"]
    assert [name for name, _ in cohort.dropped] == [
        "sub-a session 3",
        "sub-a/ses-02/anat/sub-a_ses-02_T1w.nii.gz",
    ]
    # A session that `keep` leaves out does not come back under the age of another.
    people = (
        "participant_id\tsession_id\tage\tsex\tqc\nsub-a\t1\t30\tF\tok\nsub-a\t2\t45\tF\tbad\nsub-b\t1\t40\tM\tok\n"
    )
    assert ages(bids(tmp_path, people, keep={"qc": "ok"})) == {"sub-a_ses-01": 30, "sub-b": 40}


def test_a_row_for_each_session_whose_file_a_pattern_names(tmp_path):
    people = "participant_id\tsession_id\tage\tsex\nsub-a\tx\t30\tF\nsub-a\ty\t45\tF\n"
    spec = bids(tmp_path, people, file_pattern="registered/{participant_id}_{session_id}.nii.gz")
    (tmp_path / "registered").mkdir()
    for name in ("sub-a_x.nii.gz", "sub-a_y.nii.gz"):
        (tmp_path / "registered" / name).write_bytes(b"x")
    assert ages(spec) == {"sub-a_x": 30, "sub-a_y": 45}


def test_one_age_for_several_sessions_is_said(tmp_path):
    for sessions in ("", "session_id\tacq_time\nses-01\t2001\nses-02\t2016\n"):
        with pytest.warns(UserWarning, match=r"age: found one for all sessions of 1 people \(sub-a\).*_sessions.tsv"):
            assert ages(bids(tmp_path, sessions=sessions))["sub-a_ses-02"] == 30


def test_ages_that_only_sessions_tell(tmp_path):
    people = "participant_id\tsex\nsub-a\tF\nsub-b\tM\n"
    spec = bids(tmp_path, people, "session_id\tage\nses-01\t30\nses-02\t45\n", bad_ages="absent")
    assert ages(spec) == {"sub-a_ses-01": 30, "sub-a_ses-02": 45, "sub-b": None}
    with pytest.raises(InputError, match=r"age: found 1 bad rows \(sub-b: age: missing"):
        read_cohort(bids(tmp_path, people))


def test_a_session_without_an_age_is_not_given_the_age_of_another(tmp_path):
    for sessions in ("session_id\tage\nses-01\t30\nses-02\tn/a\n", "session_id\tage\nses-01\t30\n"):
        with pytest.raises(InputError, match=r"age: found 1 bad rows \(sub-a session 2: age: missing"):
            read_cohort(bids(tmp_path, sessions=sessions))
        assert ages(bids(tmp_path, sessions=sessions, bad_ages="drop")) == {"sub-a_ses-01": 30, "sub-b": 40}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("session_id\tage\n1\t30\n1\t31\n", "sub-a_sessions.tsv: session 1: found lines 2 and 3 disagree: age '30'"),
        ("session_id\tage\n1\t30\nses-01\t31\n", "sub-a_sessions.tsv: session 1: found lines 2 and 3 disagree"),
        ("visit\tage\n1\t30\n", "sub-a_sessions.tsv: session_id: found no such column"),
        ("session_id\tage\n1\t30\t40\n", "sub-a_sessions.tsv: line 2: found 3 cells"),
    ],
)
def test_bad_session_tables_are_refused(tmp_path, table, message):
    with pytest.raises(InputError, match=message):
        read_cohort(bids(tmp_path, sessions=table))


@pytest.mark.filterwarnings("ignore:.*all sessions")
@pytest.mark.parametrize(
    ("unit", "in_years"),
    [("months", 1 / 12), ("Month", 1 / 12), ("weeks", 7 / 365.25), ("d", 1 / 365.25), ("years", 1), ("yrs at scan", 1)],
)
def test_units_of_the_side_car(tmp_path, unit, in_years):
    people = "participant_id\tage\tsex\nsub-a\t8000\tF\nsub-b\t9600\tM\n"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the domain
        found = ages(bids(tmp_path, people, "session_id\tage\n1\t8000\n2\t8012\n", units=unit))
        assert found["sub-b"] == pytest.approx(9600 * in_years)
        assert found["sub-a_ses-02"] == pytest.approx(8012 * in_years)  # no side-car of its own
        (tmp_path / "sessions.json").write_text('{"age": {"Units": "years"}}')
        assert ages(bids(tmp_path, people))["sub-a_ses-02"] == 8012


@pytest.mark.parametrize("unit", ["decades", "fortnights", "months or years"])
def test_a_unit_that_is_not_understood_is_refused(tmp_path, unit):
    with pytest.raises(InputError, match=rf"participants.json: age.Units: found '{unit}'; expected years, months"):
        read_cohort(bids(tmp_path, units=unit))


@pytest.mark.filterwarnings("ignore:.*all sessions")
def test_other_units_are_compared(tmp_path):
    people = "participant_id\tage\theight\nsub-a\t30\t1.7\nsub-b\t40\t1.8\n"
    schema = Schema.from_json([{"name": "height", "unit": "cm", "low": 1, "high": 200}])
    spec = bids(tmp_path, people)
    (tmp_path / "participants.json").write_text('{"height": {"Units": "m"}, "age": "text", "participant_id": {}}')
    with pytest.warns(UserWarning, match=r"height.Units: found 'm'; expected cm"):
        read_cohort(spec, schema)
    metres = Schema.from_json([{"name": "height", "unit": "m", "low": 1, "high": 2}])
    (tmp_path / "participants.json").write_text('{"height": {"Units": "cm"}}')
    with pytest.warns(UserWarning, match=r"height.Units: found 'cm'; expected m"):
        read_cohort(spec, metres)
    (tmp_path / "participants.json").write_text("{")
    with pytest.raises(InputError, match=r"participants.json: side-car: found broken JSON"):
        read_cohort(spec, schema)


def test_names_of_sessions():
    assert [label(text) for text in ("ses-01", "1", "ses-0", "00", "ses-M24", "")] == ["1", "1", "0", "0", "m24", ""]
    assert session_of(Path("/d/sub-1/ses-03/anat/sub-1_ses-03_T1w.nii.gz")) == "3"
    assert session_of(Path("/d/sub-1/ses-x2/T1.nii.gz")) == "x2"
    assert session_of(Path("/d/glasses-2/sub-1_T1w.nii.gz")) == ""
