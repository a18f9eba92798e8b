"""volumes_2mm.py with voxels of 4 mm, each the mean of eight: for experiments that must be fast.

Command:  brain-diffusion prepare configs/oasis/volumes_4mm.py cohort.root=FOLDER --measure volumes --out shards/o4
Expected: the same people in the same splits, 40x48x40. Thin ventricles are lost in larger voxels: those of people
          under 30 measure 10,000 mm3 on average, at 2 mm 14,600, so that measured volumes of two grids do not compare.
"""

from pathlib import Path

from brain_diffusion_jax.config import load_config


def get_config():
    c = load_config(Path(__file__).parent / "volumes_2mm.py")
    c.name = "oasis_volumes_4mm"
    c.prepare.volume.spacing_mm = 4.0
    return c
