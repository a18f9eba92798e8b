"""The classifier that judges class fidelity on the tumour pictures; it sees real pictures only.

Command:  brain-diffusion prepare configs/tumor/classifier.py pictures.root=PICTURES.npz --out shards/tumor
          brain-diffusion train-class configs/tumor/classifier.py data.shards=shards/tumor --run runs/tumor-class
Expected: docs/results.md.
"""

from pathlib import Path

from brain_diffusion_jax.config import base_config


def get_config():
    c = base_config("class", prepared_as=Path(__file__).parent / "diffusion.py")
    c.name = "tumor"
    return c
