"""The official BIDS validator (extra `bids`) as a function; its tests skip where it is not installed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def errors(folder: Path) -> list[str]:
    """What breaks the standard in a data set, each with its place; warnings are left out."""
    command = shutil.which("bids-validator-deno", path=str(Path(sys.executable).parent)) or shutil.which(
        "bids-validator-deno"
    )
    if command is None:
        pytest.skip("bids-validator-deno is not installed (extra `bids`)")
    words = [command, str(folder), "--format", "json"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    issues = json.loads(done.stdout)["issues"]["issues"]
    found = [f"{i['code']} {i.get('subCode', '')} {i.get('location', '')}" for i in issues if i["severity"] == "error"]
    assert (done.returncode == 0) == (not found), done.stderr
    return found
