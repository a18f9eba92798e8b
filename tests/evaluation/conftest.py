"""Real slices for tests of measures and probes."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture
def real_slices(real_data):
    """Images at z = 20 mm, ages and sexes of CDR 0 people with good scans."""
    with np.load(real_data("oasis1_mni2mm") / "axial_slices_u8.npz") as file:
        kept = (file["cdr"] == 0) & (file["qc"] == "ok")
        return file["images"][kept][:, list(file["z_mm"]).index(20)], file["age"][kept], file["sex_male"][kept]
