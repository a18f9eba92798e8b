"""The published system (configs/camcan/reference.py) on OASIS-1: only the cohort and its intensities differ.

Command:  brain-diffusion prepare configs/oasis/reference.py cohort.root=FOLDER --out shards/oasis_reference
          brain-diffusion train configs/oasis/reference.py data.shards=shards/oasis_reference --run runs/oasis_reference
Expected: 401 GFLOP a picture and step; for a GPU (model.dtype=bfloat16). The split is by slice, as
          published: read every number with the warning it comes with.
"""

from pathlib import Path

from brain_diffusion_jax.config import load_config


def get_config():
    c = load_config(Path(__file__).parents[1] / "camcan" / "reference.py")
    c.unlock()
    c.name = "oasis_reference"
    c.covariates = (
        {"name": "age", "unit": "years", "low": 18.0, "high": 96.0},
        {"name": "sex", "values": ("M", "F")},
        {"name": "slice", "unit": "index", "low": 0.0, "high": 90.0},
    )
    c.cohort.layout = "oasis1"
    c.cohort.keep.cdr = 0
    c.cohort.keep.qc = "ok"
    # Stored value = 100 x intensity, as in the published uint8 copies: the window [0, 2.55] is 0-255.
    c.prepare.intensity = {"rule": "fixed", "low": 0.0, "high": 2.55, "dtype": "float32", "top": 1.0}
    return c
