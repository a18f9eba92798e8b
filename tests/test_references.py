"""Every paper that the package, its configs and its pages cite stands in REFERENCES.md by the key used there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
NAME = r"(?:de )?[A-Z][A-Za-zäöüé]+"
CITATION = re.compile(rf"\b{NAME}(?: et al\.| (?:&|and) {NAME})\s+(?:19|20)\d\d[a-z]?\b")
LINE_STARTS = re.compile(r"\n[ #]*")  # a citation may be broken over two lines of a comment
# Spelled otherwise in places that are not ours to rename.
SPELLINGS = {"Kynkaanniemi": "Kynkäänniemi", " and ": " & "}


def citations(text: str) -> set[str]:
    """The citations of a text in one spelling, such as "Ho et al. 2020"."""
    found = set(CITATION.findall(LINE_STARTS.sub(" ", text)))
    for other, ours in SPELLINGS.items():
        found = {key.replace(other, ours) for key in found}
    return found


def test_every_citation_has_its_entry():
    entries = set(re.findall(r"^- \*\*(.+?)\*\*", (ROOT / "REFERENCES.md").read_text(encoding="utf-8"), re.M))
    files = [p for folder in ("brain_diffusion_jax", "configs", "scripts") for p in (ROOT / folder).rglob("*.py")]
    files += [*(ROOT / "docs").rglob("*.md"), ROOT / "README.md"]
    cited = {key: path for path in files for key in citations(path.read_text(encoding="utf-8"))}
    assert len(cited) > 40
    missing = {key: str(path.relative_to(ROOT)) for key, path in cited.items() if key not in entries}
    assert not missing


def test_a_broken_line_is_one_citation():
    assert citations("after SFCN (Peng et al.\n    2021), and Ho & Salimans\n# 2022") == {
        "Peng et al. 2021",
        "Ho & Salimans 2022",
    }
