from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from small_cohort import write_bids
from small_heads import write_heads

from brain_diffusion_jax.cli.main import main
from brain_diffusion_jax.contract import Contract
from brain_diffusion_jax.data.shards import writer
from brain_diffusion_jax.data.table import read_table

CONFIG = """
from brain_diffusion_jax.config import base_config

def get_config():
    c = base_config()
    c.name = "small"
    c.covariates = (
        {"name": "age", "unit": "years", "low": 18.0, "high": 96.0},
        {"name": "sex", "values": ("F", "M")},
        {"name": "slice", "unit": "index", "low": 0.0, "high": 18.0},
    )
    c.prepare.spacing_mm = (10.0, 10.0, 10.0)
    c.prepare.slices.start, c.prepare.slices.stop = 7, 11
    c.split.train, c.split.validation, c.split.test, c.split.seed = 0.5, 0.0, 0.5, 1
    return c
"""

HEADS = """
from brain_diffusion_jax.config import base_config

def get_config():
    c = base_config()
    c.name = "heads"
    c.prepare.kind = "volumes"
    c.prepare.spacing_mm = (4.0, 4.0, 4.0)
    c.prepare.intensity.update({"rule": "fixed", "low": 0.0, "high": 1.2})
    c.prepare.volume.size, c.prepare.volume.offset, c.prepare.volume.refuse = (40, 48, 40), (3, 3, 2), ()
    c.split.train, c.split.validation, c.split.test = 0.7, 0.0, 0.3
    return c
"""


@pytest.fixture
def place(tmp_path) -> Path:
    (tmp_path / "small.py").write_text(CONFIG)
    write_bids(tmp_path / "cohort", people=6)
    return tmp_path


def words(place: Path, *more: str, out: str = "out") -> list[str]:
    return ["prepare", str(place / "small.py"), f"cohort.root={place / 'cohort'}", *more, "--out", str(place / out)]


def test_json_summary(place, capsys):
    assert main([*words(place), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    contract = Contract.load(place / "out")
    assert result["fingerprint"] == contract.fingerprint
    assert result["train"]["pictures"] + result["test"]["pictures"] == 24
    assert result["dropped"] == {}
    assert contract.image_size == (22, 19)


def test_table_names_what_was_left_out(place, capsys):
    table = place / "cohort" / "participants.tsv"
    table.write_text(table.read_text().replace("sub-03\t35", "sub-03\tn/a") + "sub-99\t40\tF\n")
    assert main(words(place, "cohort.bad_ages=drop")) == 0
    captured = capsys.readouterr()
    assert "1  age" in captured.out
    assert "1  no file" in captured.out
    assert "warning: " in captured.err
    assert "rows without a file (sub-99)" in captured.err
    lines = (place / "out" / "dropped.csv").read_text()
    assert "sub-03,age: missing ('n/a')" in lines
    assert "sub-99,no file: sub-99/" in lines


def test_keep_of_a_config_file_gives_way_to_the_command_line(place):
    config = place / "small.py"
    config.write_text(config.read_text().replace("    return c", '    c.cohort.keep.sex = "F"\n    return c'))
    assert main(words(place, "cohort.keep.sex=('F', 'M')")) == 0
    assert not Contract.load(place / "out").counts["dropped"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["cohort.rot=x"], "cohort.rot: found an unknown key; expected nearest: cohort.root"),
        (["prepare.slices.stop=25"], "axial slices: found [19, 20"),
        (["prepare.intensity.rule=fixd"], "rule: found fixd; expected fixed, percentile or white_matter"),
        (["split.train=0.7"], "fractions >= 0 that sum to 1"),
        (["--workers", "-1"], "--workers: found -1"),
        (["cohort.layout=camcan"], "no column 'Subject'"),
    ],
)
def test_bad_input_exits_with_2_and_writes_nothing(place, capsys, more, message):
    assert main(words(place, *more)) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert not (place / "out" / "contract.json").exists()


def test_second_run_into_the_same_folder_is_refused(place, capsys):
    assert main(words(place)) == 0
    before = (place / "out" / "contract.json").read_bytes()
    assert main(words(place)) == 2
    assert "--out: found a finished set of shards" in capsys.readouterr().err
    assert (place / "out" / "contract.json").read_bytes() == before


def test_ctrl_c_keeps_parts_and_continues(place):
    """A real SIGINT to a real process whose scans take their time."""
    slow = (
        # A background job of a script inherits an ignored SIGINT.
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "import time, sys; from brain_diffusion_jax.data.prepare import part_pool as p; real = p.save_part\n"
        "def save(*a):\n    real(*a); print('part', flush=True); time.sleep(0.5)\n"
        "p.save_part = save\nfrom brain_diffusion_jax.cli.main import main; sys.exit(main(sys.argv[1:]))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", slow, *words(place)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert [process.stdout.readline().strip() for _ in range(2)] == ["part", "part"]
    time.sleep(0.1)
    os.kill(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "interrupted; what was finished is kept" in errors
    assert "Traceback" not in errors
    assert 2 <= len(list((place / "out" / ".prepare" / "parts").glob("*.npz"))) < 6
    assert main(words(place)) == 0
    assert main(words(place, out="at_once")) == 0
    assert Contract.load(place / "out").fingerprint == Contract.load(place / "at_once").fingerprint


SLOW_WORKERS = """
import signal, sys, time
from brain_diffusion_jax.data.prepare import part_pool

real = part_pool.save_part
def save(*arguments):
    real(*arguments)
    print("part", flush=True)
    time.sleep(600)
part_pool.save_part = save  # in every worker too, which imports this file

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup it would be ignored
    from brain_diffusion_jax.cli.main import main
    sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("signals", ["SIGTERM", "SIGHUP", "SIGKILL", "SIGINT", "SIGINT SIGINT"])
def test_workers_end_with_their_parent_and_the_next_call_goes_on(place, signals):
    """Workers hold the pipes of their parent, so that `communicate` ends only when all of them have ended."""
    (place / "slow.py").write_text(SLOW_WORKERS)
    process = subprocess.Popen(
        [sys.executable, str(place / "slow.py"), *words(place), "--workers", "2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert [process.stdout.readline().strip() for _ in range(2)] == ["part", "part"]
    for name in signals.split():
        # Ctrl-C of a terminal reaches the whole group.
        (os.killpg if name == "SIGINT" else os.kill)(process.pid, getattr(signal, name))
        time.sleep(0.1 * (len(signals.split()) - 1))
    _, errors = process.communicate(timeout=60)
    # The second Ctrl-C may also find Python's own end, where no handler is left.
    expected = {"SIGINT": [130], "SIGINT SIGINT": [130, -signal.SIGINT]}
    assert process.returncode in (expected.get(signals) or [-getattr(signal, signals)]), errors
    assert "Traceback" not in errors
    assert "Error" not in errors
    assert len(list((place / "out" / ".prepare" / "parts").glob("*.npz"))) == 2
    if signals == "SIGINT SIGINT":
        assert "what was finished is kept" in errors
        assert main(words(place)) == 0


def test_an_interrupt_handler_does_not_outlive_the_call(place):
    before = signal.getsignal(signal.SIGINT)
    assert main(words(place, "prepare.slices.stop=25")) == 2
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.realdata
def test_oasis_end_to_end(real_data, tmp_path, capsys):
    root = real_data("oasis1_mni2mm")
    config = Path(__file__).resolve().parents[2] / "configs" / "oasis" / "diffusion_cpu.py"
    # Ages 70 to 72 only, so that it is quick.
    more = ["cohort.keep.age=(70, 71, 72)", "split.train=0.4", "split.validation=0.3", "split.test=0.3"]
    assert main(["prepare", str(config), f"cohort.root={root}", *more, "--out", str(tmp_path / "out"), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    everything = [writer.read_all(tmp_path / "out", s) for s in ("train", "validation", "test")]
    assert sum(len(e["image"]) for e in everything) == sum(
        result[s]["pictures"] for s in ("train", "validation", "test")
    )
    people = [set(e["person"]) for e in everything]
    assert sum(map(len, people)) == len(set().union(*people))
    assert {round(c["age"]) for e in everything for c in e["conditions"]} == {70, 71, 72}
    # Stored values are those of the publisher: white matter near 105 of 255.
    assert max(int(image.max()) for e in everything for image in e["image"]) > 95
    contract = Contract.load(tmp_path / "out")
    assert contract.image_size == (109, 91)
    assert contract.slices.positions_mm == (0.0, 10.0, 20.0, 30.0, 40.0)


def test_volumes_are_measured_and_inspected(tmp_path, capsys):
    write_heads(tmp_path / "cohort")
    (tmp_path / "heads.py").write_text(HEADS)
    config, root = str(tmp_path / "heads.py"), f"cohort.root={tmp_path / 'cohort'}"
    assert main(["prepare", config, root, "--measure", "volumes", "--out", str(tmp_path / "out"), "--json"]) == 0
    contract = Contract.load(tmp_path / "out")
    assert contract.schema.names == ("age", "sex", "ventricles", "brain")  # no slice
    assert contract.measured["region"].startswith("sha256:")
    assert json.loads(capsys.readouterr().out)["fingerprint"] == contract.fingerprint
    look = ["inspect", config, root, "--out", str(tmp_path / "look"), "--json"]
    assert main([*look, "--shards", str(tmp_path / "out")]) == 0
    header, rows = read_table(tmp_path / "look" / "scans.csv")
    told = {row.get("scan"): row.get("ventricles") for row in read_table(tmp_path / "out" / "scans.csv")[1]}
    assert {"ventricles", "brain"} <= set(header)
    assert {row.get("scan"): float(row.get("ventricles")) for row in rows} == {k: float(v) for k, v in told.items()}
    # Without --measure the table must tell them.
    assert main(["prepare", config, root, "--out", str(tmp_path / "other"), "--json"]) == 0
    assert Contract.load(tmp_path / "other").schema.names == ("age", "sex")


def test_slices_have_no_volume_to_measure(place, capsys):
    assert main([*words(place), "--measure", "volumes"]) == 2
    assert "prepare.measure: volumes: found prepare.kind=slices" in capsys.readouterr().err
