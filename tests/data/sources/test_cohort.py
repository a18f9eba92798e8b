from __future__ import annotations

import warnings
from pathlib import Path

import pytest
from small_cohort import write_bids

from brain_diffusion_jax.config import apply_overrides, base_config
from brain_diffusion_jax.covariates import Schema
from brain_diffusion_jax.data.sources.cohort import CohortSpec, read_cohort
from brain_diffusion_jax.errors import InputError

SEX = {"1": "M", "2": "F"}


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


def table(folder: Path, text: str, files: str = "{}_T1.nii.gz", name: str = "people.csv") -> Path:
    """A folder with a table and a file for each id of the first column."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    for line in text.strip().splitlines()[1:]:
        touch(folder / files.format(line.split("\t" if name.endswith("tsv") else ",")[0]))
    return folder


def spec(folder: Path, **keys) -> CohortSpec:
    return CohortSpec(
        **{"layout": "table", "root": str(folder), "columns": {"person": "id"}, "file_pattern": "{id}_T1.nii.gz"} | keys
    )


@pytest.mark.filterwarnings("ignore:.*one for all sessions")
def test_bids_with_sessions_and_ids_without_prefix(tmp_path):
    write_bids(tmp_path, rows=[("sub-a", "30", "F"), ("sub-b", "40", "m")])
    (tmp_path / "participants.tsv").write_text("participant_id\tage\tsex\nsub-a\t30\tF\nb\t40\tm\n")
    touch(tmp_path / "sub-a" / "ses-2" / "anat" / "sub-a_ses-2_T1w.nii.gz")
    cohort = read_cohort(CohortSpec(root=str(tmp_path)))
    assert [(s.person, s.scan) for s in cohort.scans] == [("b", "sub-b"), ("sub-a", "sub-a"), ("sub-a", "sub-a_ses-2")]
    assert cohort.scans[0].covariates == {"age": 40.0, "sex": "M"}
    assert cohort.people == ["b", "sub-a"]
    assert not cohort.dropped


def test_camcan_layout_wants_its_sex_codes_said(tmp_path):
    table(tmp_path, "Subject,Age,Sex\nCC1,30,1\nCC2,75.5,2\n", "sub-{}_defaced_T1.nii.gz")
    with pytest.raises(InputError, match=r"people.csv: sex: found 2 bad rows .*unknown code '1'.*sex_codes\.1=M"):
        read_cohort(CohortSpec(layout="camcan", root=str(tmp_path)))
    cohort = read_cohort(CohortSpec(layout="camcan", root=str(tmp_path), sex_codes=SEX))
    assert [s.covariates for s in cohort.scans] == [{"age": 30.0, "sex": "M"}, {"age": 75.5, "sex": "F"}]


@pytest.mark.parametrize("codes", ["M/F", "m/f", "male/FEMALE", "1/2", "1.0/2.0"])
def test_sex_codes(tmp_path, codes):
    male, female = codes.split("/")
    table(tmp_path, f"id,age,sex\na,30,{male}\nb,40,{female}\n")
    cohort = read_cohort(spec(tmp_path, sex_codes=SEX if "1" in codes else {}))
    assert [s.covariates["sex"] for s in cohort.scans] == ["M", "F"]


def test_a_code_outside_the_schema_is_refused(tmp_path):
    table(tmp_path, "id,age,sex\na,30,1\nb,40,3\n")
    with pytest.raises(InputError, match=r"1 bad rows \(b: sex: unknown code '3'\)"):
        read_cohort(spec(tmp_path, sex_codes=SEX))
    with pytest.raises(InputError, match="means 'X', which the schema does not have"):
        read_cohort(spec(tmp_path, sex_codes={"1": "X", "3": "F"}))
    cohort = read_cohort(spec(tmp_path, sex_codes=SEX, bad_rows="drop"))
    assert cohort.dropped == (("b", "sex: unknown code '3'"),)
    cohort = read_cohort(spec(tmp_path, sex_codes=SEX, bad_rows="absent"))
    assert cohort.scans[1].covariates == {"age": 40.0}


@pytest.mark.parametrize("age", ["n/a", "", "89+", "eighty", "nan", "inf"])
def test_bad_ages_are_refused_dropped_or_left_absent(tmp_path, age):
    table(tmp_path, f"id,age,sex\na,30.25,M\nb,{age},F\n")
    with pytest.raises(InputError, match=r"people.csv: age: found 1 bad rows \(b: age: .*cohort.bad_ages=drop"):
        read_cohort(spec(tmp_path))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # b's file
        cohort = read_cohort(spec(tmp_path, bad_ages="drop"))
    assert [s.covariates["age"] for s in cohort.scans] == [30.25]
    assert [name for name, _ in cohort.dropped] == ["b"]
    cohort = read_cohort(spec(tmp_path, bad_ages="absent"))
    assert cohort.scans[1].covariates == {"sex": "F"}


def test_an_age_outside_the_domain_warns_once(tmp_path):
    table(tmp_path, "id,age,sex\na,12,M\nb,30,F\nc,101,F\n")
    with pytest.warns(
        UserWarning, match=r"age: found 2 scans outside .*\(a_T1 12, c_T1 101\); expected 18 to 96 years"
    ):
        assert len(read_cohort(spec(tmp_path)).scans) == 3


def test_repeated_ids(tmp_path):
    table(tmp_path, "id,age,sex\na,30,M\na,30.0,M\nb,40,F\nb,41,F\nc,50,M\nc,,M\nd,,M\nd,51,M\n")
    with pytest.raises(InputError, match=r"found 1 bad rows \(b: lines 4 and 5 disagree: age '40' and '41'"):
        read_cohort(spec(tmp_path))
    cohort = read_cohort(spec(tmp_path, bad_rows="drop"))
    assert [(s.person, s.covariates["age"]) for s in cohort.scans] == [("a", 30.0), ("c", 50.0), ("d", 51.0)]
    assert cohort.dropped == (("b", "lines 4 and 5 disagree: age '40' and '41'"),)


def test_repeat_scans_stay_with_their_person(tmp_path):
    table(tmp_path, "id,age,sex\na,30,M\n")
    touch(tmp_path / "a_2_T1.nii.gz")
    cohort = read_cohort(spec(tmp_path, file_pattern="{id}*_T1.nii.gz"))
    assert [(s.person, s.scan) for s in cohort.scans] == [("a", "a_2_T1"), ("a", "a_T1")]


def test_rows_that_name_other_files_are_no_repeats(tmp_path):
    (tmp_path / "people.csv").write_text("id,wave,age,sex\na,1,30,M\na,2,45,M\na,2,45,M\nb,1,40,F\n")
    for name in ("a_1_T1.nii.gz", "a_2_T1.nii.gz", "b_1_T1.nii.gz"):
        touch(tmp_path / name)
    cohort = read_cohort(spec(tmp_path, file_pattern="{id}_{wave}_T1.nii.gz"))
    assert [(s.scan, s.covariates["age"]) for s in cohort.scans] == [("a_1_T1", 30), ("a_2_T1", 45), ("b_1_T1", 40)]


def test_one_folder_a_person(tmp_path):
    (tmp_path / "people.csv").write_text("id,age,sex\na,30,M\nb,40,F\n")
    for name in ("a/T1.nii.gz", "b/T1.nii", "b/T1_again.nii.gz"):
        touch(tmp_path / name)
    cohort = read_cohort(spec(tmp_path, file_pattern="{id}/T1*"))
    assert [(s.person, s.scan) for s in cohort.scans] == [("a", "a_T1"), ("b", "b_T1"), ("b", "b_T1_again")]


def test_table_without_file_and_file_without_row(tmp_path):
    table(tmp_path, "id,age,sex\na,30,M\nb,40,F\n")
    (tmp_path / "b_T1.nii.gz").unlink()
    touch(tmp_path / "z_T1.nii.gz")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        cohort = read_cohort(spec(tmp_path))
    assert cohort.dropped == (("b", "no file: b_T1.nii.gz"), ("z_T1.nii.gz", "file without a row in the table"))
    texts = " ".join(str(w.message) for w in caught)
    assert "1 rows without a file (b)" in texts
    assert "1 files without a row (z_T1.nii.gz)" in texts


def test_keep(tmp_path):
    table(tmp_path, "id,age,sex,cdr,qc\na,30,M,0.0,ok\nb,n/a,F,1,ok\nc,50,F,0.5,bad\nd,51,F,0,bad\n")
    cohort = read_cohort(spec(tmp_path, keep={"cdr": 0, "qc": "ok"}))
    assert [s.person for s in cohort.scans] == ["a"]  # b's bad age does not matter once b is left out
    assert [name for name, _ in cohort.dropped] == ["b", "c", "d"]
    assert len(read_cohort(spec(tmp_path, keep={"cdr": (0, 0.5)})).scans) == 3
    with pytest.raises(InputError, match=r"cohort.keep.cdrr: found no such column; expected nearest: cdr"):
        read_cohort(spec(tmp_path, keep={"cdrr": 0}))


def test_semicolons_bom_quotes_and_tabs(tmp_path):
    text = '\ufeffid;age;"SEX (1=m, 2=f)"\na;30;1\n'
    (tmp_path / "people.csv").write_text(text, encoding="utf-8")
    touch(tmp_path / "a_T1.nii.gz")
    columns = {"person": "id", "sex": "SEX (1=m, 2=f)"}
    cohort = read_cohort(spec(tmp_path, columns=columns, sex_codes=SEX))
    assert cohort.scans[0].covariates == {"age": 30.0, "sex": "M"}


def test_other_covariates_and_supplied_ones(tmp_path):
    table(tmp_path, "id,Volume,group\na,1200.5,patient\nb,1100,Control\n")
    schema = Schema.from_json(
        [
            {"name": "volume", "unit": "ml", "low": 900, "high": 1600},
            {"name": "group", "values": ("control", "patient")},
            {"name": "slice", "unit": "index", "low": 0, "high": 90},
        ]
    )
    cohort = read_cohort(spec(tmp_path), schema)
    assert [s.covariates for s in cohort.scans] == [
        {"volume": 1200.5, "group": "patient"},
        {"volume": 1100.0, "group": "control"},
    ]


VOLUMES = Schema.from_json(
    [
        {"name": "ventricles", "unit": "mm3", "low": 3000, "high": 70000},
        {"name": "brain", "unit": "fraction", "low": 0.6, "high": 0.9},
    ]
)
# (header, row, ventricles, brain): tables of SynthSeg (--vol), FreeSurfer (asegstats2table) and UK Biobank.
TOLD_BY = {
    "synthseg": (
        "left lateral ventricle,right lateral ventricle,total intracranial,csf",
        "9000.5,8000,1500000,300000",
        "left lateral ventricle + right lateral ventricle",
        "",
    ),
    "freesurfer": (
        "Left-Lateral-Ventricle,Right-Lateral-Ventricle,BrainSegVolNotVent,EstimatedTotalIntraCranialVol",
        "9000.5,8000,1125000,1500000",
        "Left-Lateral-Ventricle + Right-Lateral-Ventricle",
        "BrainSegVolNotVent / EstimatedTotalIntraCranialVol",
    ),
    "ukb": ("25004-2.0,25009-2.0", "17000.5,1400000", "25004-2.0", ""),
}


@pytest.mark.parametrize("tool", TOLD_BY)
def test_volumes_of_the_users_table_are_conditions(tool, tmp_path):
    header, row, ventricles, brain = TOLD_BY[tool]
    table(tmp_path, f"id,{header}\na,{row}\n")
    columns = {"person": "id", "ventricles": ventricles, "brain": brain}
    schema = VOLUMES if brain else Schema(VOLUMES.covariates[:1])
    cohort = read_cohort(spec(tmp_path, columns={k: v for k, v in columns.items() if v}), schema)
    expected = {"ventricles": 17000.5} | ({"brain": 0.75} if brain else {})
    assert cohort.scans[0].covariates == pytest.approx(expected)


def test_computed_columns_go_through_the_command_line_and_need_their_parts(tmp_path):
    table(tmp_path, "id,left,right + left,right\na,9000,1,8000\nb,9000,1,\n")
    words = [f"root={tmp_path}", "layout=table", "file_pattern={id}_T1.nii.gz", "columns.person=id", "bad_ages=absent"]
    config = apply_overrides(base_config(), [f"cohort.{w}" for w in (*words, "columns.ventricles=left + right")])
    schema = Schema(VOLUMES.covariates[:1])
    cohort = read_cohort(CohortSpec(**config.cohort.to_dict()), schema)
    assert [s.covariates for s in cohort.scans] == [{"ventricles": 17000.0}, {}]
    own = {"person": "id", "ventricles": "right + left"}  # a column of this name is itself
    with pytest.raises(InputError, match=r"2 bad rows \(a: ventricles: 1, a fraction, or a volume in another unit"):
        read_cohort(spec(tmp_path, columns=own), schema)
    with pytest.raises(InputError, match=r"no column .left . middle.; expected cohort.columns.ventricles"):
        read_cohort(spec(tmp_path, columns={"person": "id", "ventricles": "left + middle"}), schema)


@pytest.mark.parametrize("cell", ["", "n/a", "0", "0.011", "14.2"])
def test_a_missing_volume_is_absent_and_no_number(tmp_path, cell):
    table(tmp_path, f"id,ventricles\na,14200\nb,{cell}\n")
    schema = Schema(VOLUMES.covariates[:1])
    with pytest.raises(InputError, match=r"ventricles: found 1 bad rows \(b: .*expected a number in mm3"):
        read_cohort(spec(tmp_path), schema)
    cohort = read_cohort(spec(tmp_path, bad_ages="absent"), schema)
    assert [s.covariates for s in cohort.scans] == [{"ventricles": 14200.0}, {}]


def test_a_stray_quote_leaves_everybody_in_the_cohort(tmp_path):
    notes = ["fine", '"late', "fine", "fine", '"early', "fine", "a\u2028b", "fine"]
    rows = [(f"sub-{i}", str(30 + i), "FM"[i % 2], note) for i, note in enumerate(notes)]
    for name, *_ in rows:
        touch(tmp_path / name / "anat" / f"{name}_T1w.nii.gz")
    text = "\n".join("\t".join(row) for row in [("participant_id", "age", "sex", "note"), *rows])
    (tmp_path / "participants.tsv").write_text(text + "\n")
    cohort = read_cohort(CohortSpec(root=str(tmp_path)))
    assert [s.covariates["age"] for s in cohort.scans] == [30.0 + i for i in range(8)]
    assert not cohort.dropped


def test_columns_named_by_a_number_and_truth_as_r_spells_it(tmp_path):
    table(tmp_path, "id,21003,31,healthy\na,30,1,TRUE\nb,40,0,FALSE\nc,50,0,TRUE\n")
    words = ["layout=table", f"root={tmp_path}", "file_pattern={id}_T1.nii.gz", "columns.person=id"]
    words += ["columns.age=21003", "columns.sex=31", "sex_codes.1=male", "sex_codes.0=f", "keep.healthy=TRUE"]
    config = apply_overrides(base_config(), [f"cohort.{word}" for word in words])
    cohort = read_cohort(CohortSpec(**config.cohort.to_dict()))
    assert [s.covariates for s in cohort.scans] == [{"age": 30.0, "sex": "M"}, {"age": 50.0, "sex": "F"}]
    file = {"columns": {"person": "id", "age": 21003, "sex": 31}, "sex_codes": {1: "M", 0: "F"}}
    for keep in ("TRUE", "true", True, ("True", "yes")):
        assert read_cohort(spec(tmp_path, **file, keep={"healthy": keep})).scans == cohort.scans


@pytest.mark.parametrize(
    ("text", "keys", "message"),
    [
        ("id,age,sex\na,30,M\n", {"layout": "bidz"}, "layout: found bidz; expected nearest: bids"),
        ("id,age,sex\na,30,M\n", {"table": "none.csv"}, "none.csv: table: found no such file"),
        ("id,age,sex\na,30,M\n", {"columns": {"person": "idd"}}, "person: found no column 'idd'.*nearest: id"),
        ("id,years,sex\na,30,M\n", {}, "age: found no column 'age'; expected cohort.columns.age=COLUMN"),
        ("id,age,sex\na,30,M\n", {"file_pattern": "{idd}.nii"}, "file_pattern: found {idd}.nii"),
        ("id,age,sex\na,30,M\n", {"file_pattern": ""}, "file_pattern: found nothing"),
        ("id,age,sex\na,30,M\n", {"bad_ages": "ignore"}, "bad_ages: found ignore"),
        ("id,age,sex\na,30,M\n", {"root": "/nowhere"}, "root: found /nowhere: no such folder"),
        ("id,age,sex\n", {}, "rows: found none"),
        ("id,age,age\na,30,31\n", {}, r"header: found columns \['age'\] twice"),
        ("id,age,sex\na,30\n", {}, "line 2: found 2 cells; expected 3"),
        ("id,age,sex\na,30,M\n", {"keep": {"sex": "F"}}, "scans: found none of 1 rows usable"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_bad_tables_are_refused_by_name(tmp_path, text, keys, message):
    table(tmp_path, text)
    with pytest.raises(InputError, match=message):
        read_cohort(spec(tmp_path, **keys))


@pytest.mark.filterwarnings("ignore:.*without a row")
def test_two_rows_for_one_file_are_refused(tmp_path):
    table(tmp_path, "id,age,sex,file\na,30,M,a_T1.nii.gz\nb,31,F,a_T1.nii.gz\n")
    with pytest.raises(InputError, match="more than once"):
        read_cohort(spec(tmp_path, columns={"person": "id", "file": "file"}, file_pattern=""))


def two_spaces(folder: Path) -> Path:
    """Two people, each with a native scan and one in MNI space; participants.csv names the native ones."""
    rows = [f"sub-{n},{n},{30 + n},F,sub-{n}/anat/sub-{n}_T1w.nii.gz" for n in (1, 2)]
    folder.mkdir()
    (folder / "participants.csv").write_text("\n".join(["subject_id,session_id,age,sex,file", *rows]) + "\n")
    (folder / "participants.tsv").write_text("participant_id\tage\tsex\nsub-1\t31\tF\nsub-2\t32\tF\n")
    for n in (1, 2):
        touch(folder / f"sub-{n}/anat/sub-{n}_T1w.nii.gz")
        touch(folder / f"sub-{n}/anat/sub-{n}_space-MNI_T1w.nii.gz")
    return folder


@pytest.mark.parametrize("layout", ["bids", "oasis1", "table"])
@pytest.mark.parametrize("absolute", [False, True])
def test_the_users_pattern_decides_in_every_layout(tmp_path, layout, absolute):
    root = two_spaces(tmp_path / "c")
    table = "participants.csv" if layout == "oasis1" else "participants.tsv"
    columns = {"person": "participant_id"} if layout == "table" else {}
    pattern = "{person}/anat/*space-MNI_T1w.nii.gz"
    keys = {"table": table, "columns": columns, "file_pattern": f"{root}/{pattern}" if absolute else pattern}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cohort = read_cohort(CohortSpec(layout=layout, root=str(root), **keys))
    assert [s.path.name for s in cohort.scans] == ["sub-1_space-MNI_T1w.nii.gz", "sub-2_space-MNI_T1w.nii.gz"]
    assert not cohort.dropped
    if layout == "bids":
        assert [s.scan for s in cohort.scans] == ["sub-1_space-MNI", "sub-2_space-MNI"]


def test_a_file_column_of_the_user_decides_in_bids_too_and_never_beside_a_pattern(tmp_path):
    root = two_spaces(tmp_path / "c")
    table = root / "participants.tsv"
    table.write_text("participant_id\tage\tsex\tmni\nsub-1\t31\tF\tsub-1/anat/sub-1_space-MNI_T1w.nii.gz\n")
    with pytest.warns(UserWarning, match="1 files without a row"):
        cohort = read_cohort(CohortSpec(root=str(root), columns={"file": "mni"}))
    assert [s.path.name for s in cohort.scans] == ["sub-1_space-MNI_T1w.nii.gz"]
    with pytest.raises(InputError, match=r"cohort: file_pattern, columns.file: found .*; expected one of the two"):
        read_cohort(CohortSpec(root=str(root), columns={"file": "mni"}, file_pattern="{person}.nii"))


def test_a_pattern_outside_the_root(tmp_path):
    root = table(tmp_path / "c", "id,age,sex\na,30,M\n", files="../scans/{}_T1.nii.gz")
    touch(tmp_path / "scans" / "z_T1.nii.gz")
    with pytest.warns(UserWarning, match="1 files without a row"):
        cohort = read_cohort(spec(root, file_pattern=str(tmp_path / "scans" / "{id}_T1.nii.gz")))
    assert [s.path.name for s in cohort.scans] == ["a_T1.nii.gz"]
    assert cohort.dropped == ((str(tmp_path / "scans" / "z_T1.nii.gz"), "file without a row in the table"),)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("pattern", ["{id}**.nii.gz", "{f}", "{f}/{id}_T1.nii.gz", "./{f}"])
def test_stars_and_blank_cells_in_a_pattern(tmp_path, pattern):
    table(tmp_path, "id,age,sex,f\na,30,M,x\nb,40,F,\nc,50,F,.\n")
    for name in ("x", "x_") if pattern.endswith("{f}") else ():
        touch(tmp_path / name)
    if "/{id}" in pattern:
        touch(tmp_path / "x" / "a_T1.nii.gz")
    cohort = read_cohort(spec(tmp_path, file_pattern=pattern))
    found = [s.person for s in cohort.scans]
    assert found == {"{id}**.nii.gz": ["a", "b", "c"], "{f}/{id}_T1.nii.gz": ["a", "c"]}.get(pattern, ["a"])
    if found == ["a"]:
        assert ("b", f"no file: blank in {pattern}") in cohort.dropped


def test_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    table(tmp_path / "cohort", "id,age,sex\na,30,M\n")
    for keys in ({}, {"table": "~/cohort/people.csv"}, {"file_pattern": "~/cohort/{id}_T1.nii.gz"}):
        assert len(read_cohort(spec(Path("~/cohort"), **keys)).scans) == 1
    with pytest.raises(InputError, match="cohort: root: found ~nobody-of-this-name/x; expected a path"):
        read_cohort(spec(Path("~nobody-of-this-name/x")))


@pytest.mark.parametrize("layout", ["bids", "table", "file"])
def test_metadata_of_macos_is_no_scan_and_a_link_to_nothing_is_one(tmp_path, layout):
    """The link is left for reading to refuse or drop by name."""
    root = write_bids(tmp_path, rows=[("sub-a", "30", "F"), ("sub-b", "40", "M")])
    scan = root / "sub-b" / "anat" / "sub-b_T1w.nii.gz"
    scan.unlink()
    scan.symlink_to("../../.git/annex/objects/x")
    touch(root / "sub-a" / "anat" / "._sub-a_T1w.nii.gz")
    pattern = "{person}/anat/{person}_T1w.nii.gz"
    if layout == "file":
        rows = [f"{name}\t50\tF\t{pattern.format(person=name)}" for name in ("sub-a", "sub-b")]
        (root / "participants.tsv").write_text("\n".join(["participant_id\tage\tsex\tf", *rows]) + "\n")
    columns = {"file": "f"} if layout == "file" else {}
    given = CohortSpec(root=str(root), columns=columns, file_pattern=pattern if layout == "table" else "")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cohort = read_cohort(given)
    assert [s.path for s in cohort.scans] == [root / "sub-a" / "anat" / "sub-a_T1w.nii.gz", scan]


def test_case_of_suffixes_does_not_matter(tmp_path):
    write_bids(tmp_path, rows=[("sub-a", "30", "F")])
    folder = tmp_path / "sub-a" / "anat"
    (folder / "sub-a_T1w.nii.gz").rename(folder / "sub-a_T1W.NII.GZ")
    assert [s.scan for s in read_cohort(CohortSpec(root=str(tmp_path))).scans] == ["sub-a"]


@pytest.mark.realdata
def test_oasis(real_data):
    root = real_data("oasis1_mni2mm")
    everybody = read_cohort(CohortSpec(layout="oasis1", root=str(root)))
    assert (len(everybody.scans), len(everybody.people)) == (328, 312)
    usable = read_cohort(CohortSpec(layout="oasis1", root=str(root), keep={"cdr": 0, "qc": "ok"}))
    assert len(usable.scans) == 244
    assert len(usable.dropped) == 84


@pytest.mark.realdata
def test_ixi_table_as_found(real_data, tmp_path):
    """29 blank ages, sex as 1/2, 26 repeated ids of which 219 and 328 contradict themselves."""
    source = real_data("real_demographics") / "ixi_demographics.csv"
    (tmp_path / "ixi.csv").write_text(source.read_text())
    ids = {line.split(",")[0] for line in source.read_text().splitlines()[1:]}
    for name in ids:
        touch(tmp_path / f"IXI{name}_T1.nii.gz")
    keys = {"columns": {"person": "IXI_ID", "sex": "SEX_ID (1=m, 2=f)"}, "file_pattern": "IXI{person}_T1.nii.gz"}
    with pytest.raises(InputError, match=r"repeated id: found 2 bad rows \(219: .*; 328: "):
        read_cohort(spec(tmp_path, **keys))
    with pytest.raises(InputError, match=r"age: found 28 bad rows .*missing \(''\)"):
        read_cohort(spec(tmp_path, **keys, bad_rows="drop", sex_codes=SEX))
    with pytest.raises(InputError, match=r"sex: found .*unknown code '1'"):
        read_cohort(spec(tmp_path, **keys, bad_ages="drop", keep={"IXI_ID": (2, 12)}))
    cohort = read_cohort(spec(tmp_path, **keys, bad_rows="drop", bad_ages="drop", sex_codes=SEX))
    assert len(cohort.scans) == len(ids) - 2 - 28
    assert {s.covariates["sex"] for s in cohort.scans} == {"F", "M"}


@pytest.mark.realdata
def test_openneuro_table_as_found(real_data, tmp_path):
    source = real_data("real_demographics") / "ds003592_participants.tsv"
    (tmp_path / "participants.tsv").write_text(source.read_text())
    for line in source.read_text().splitlines()[1:]:
        name = line.split("\t")[0]
        touch(tmp_path / name / "anat" / f"{name}_T1w.nii.gz")
    with pytest.raises(InputError, match=r"age: found 1 bad rows \(sub-276: age: no number \('89\+'\) \(censored"):
        read_cohort(CohortSpec(root=str(tmp_path)))
    with pytest.raises(InputError, match=r"sex: found 1 bad rows \(sub-272: sex: missing \('n/a'\)"):
        read_cohort(CohortSpec(root=str(tmp_path), bad_ages="drop"))
    cohort = read_cohort(CohortSpec(root=str(tmp_path), bad_ages="drop", bad_rows="absent"))
    assert len(cohort.scans) == 300
    assert sum("sex" not in s.covariates for s in cohort.scans) == 1
