"""The report in headless Chromium at 1280 px: nothing overflows, every picture loads, no request leaves."""

from __future__ import annotations

import re
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from brain_diffusion_jax.evaluation.report import report
from brain_diffusion_jax.evaluation.study.study_result import Row, StudyResult

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"]
FLAGS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
# Measures itself once everything is loaded and leaves the answer in the page.
PROBE = """<script>addEventListener('load', () => {
const bad = [...document.images].filter(i => !i.complete || !i.naturalWidth).length;
const wide = document.documentElement.scrollWidth - innerWidth;
const out = [...document.querySelectorAll('main *')].filter(e => !e.closest('.scroll') &&
  e.getBoundingClientRect().right > innerWidth + 1).length;
document.title = `images ${document.images.length} broken ${bad} overflow ${wide} outside ${out}`;
});</script>"""


def number(value):
    return {"value": value, "low": value * 0.9, "high": value * 1.1, "replicates": 20}


@pytest.fixture
def page(tmp_path):
    """A report with every section filled from made-up numbers."""
    rng = np.random.default_rng(0)
    ages = rng.uniform(20, 90, 40)
    rows = []
    for name, scale, error in (("real", None, 4.0), ("w=1", 1.0, 7.0), ("w=3", 3.0, 4.5), ("w=5", 5.0, 5.5)):
        metrics = {"FD[small_cnn-pool]": 0.1 * (scale or 0.1), "KID[small_cnn-pool]": 1e-5, "SSIM of pairs": 0.5}
        metrics |= {"age mae": error, "age mse": error**2, "age rmse": error, "age r": 0.9, "age slope": 0.8}
        metrics |= {"dark fraction spearman": 0.6, "dark fraction mean": 0.2, "privacy copies": 1, "precision": 0.9}
        row = Row(name, scale, 40, 30, {metric: number(value) for metric, value in metrics.items()})
        row.pictures = {
            "requested age": ages.tolist(),
            "predicted age": (ages + rng.normal(size=40) * error).tolist(),
            "dark fraction": (ages / 300).tolist(),
            "distance to nearest training picture": rng.uniform(0.05, 0.1, 40).tolist(),
        }
        rows.append(row)
    dark = {"rows": [30, 85], "cols": [28, 63], "threshold": 0.176, "slice": 46}
    utility = [{"name": "real", "num_train": 60, "seeds": 3, "mae": number(5.0), "r": number(0.9)}]
    result = StudyResult("A study", {"num_pictures": 40, "num_people": 30}, rows, ["A note."], reference=True)
    result.anatomy = {"dark_fraction": dark, "real_age": ages.tolist(), "real_dark": (ages / 300).tolist()}
    result.privacy = {"held_out": [0.06, 0.07], "scales": {"w=1": {"copies": [3], "pairs": [[3, 5]]}}}
    result.utility = utility
    pictures = rng.integers(0, 255, (10, 109, 91)).astype(np.uint8)
    np.savez(
        tmp_path / report.PICTURES,
        labels=np.array([f"{a} F" for a in range(20, 70, 5)]),
        **{row.name: pictures for row in rows},
        pairs=np.stack([pictures[:2]]),
        pair_captions=np.array(["w=1, picture 3: generated | training"]),
    )
    return report.write_report(result, tmp_path)


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (Debian package chromium)")
def test_report_in_chromium(page, tmp_path):
    probed = tmp_path / "probed.html"
    probed.write_text(page.read_text().replace("</body>", PROBE + "</body>"))
    # Only the file itself may be reached: any other host resolves to nothing.
    command = [CHROMIUM, *FLAGS, "--host-resolver-rules=MAP * ~NOTFOUND", "--window-size=1280,2000"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", f"--screenshot={tmp_path / 'shot.png'}", "--dump-dom"]
    done = subprocess.run([*command, f"file://{probed}"], capture_output=True, text=True, timeout=120, check=True)
    title = re.search(r"<title>(.*?)</title>", done.stdout).group(1)
    counts = dict(zip(title.split()[::2], map(int, title.split()[1::2]), strict=True))
    assert counts["images"] >= 10
    assert counts["broken"] == 0
    assert counts["overflow"] <= 0
    assert counts["outside"] == 0
    shot = np.asarray(Image.open(tmp_path / "shot.png").convert("L"))
    assert shot.shape[1] == 1280
    assert shot.std() > 20  # not a blank page
