"""Host memory and time of the measuring part of a study, with made images in place of a model's.

    python scripts/bench_study.py                     5,160 images of 96x128 at each of four scales
    python scripts/bench_study.py --pictures 600      a part

Everything that `brain-diffusion study` does after the sampling is done: features, SSIM and MS-SSIM of all pairs,
distances, readers, anatomy, privacy, report. Prints JSON: seconds and the peak of resident memory in GiB.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import resource
import tempfile
import time
from typing import Any

import numpy as np


def heads(count: int, rows: int, cols: int, seed: int, ages: np.ndarray) -> np.ndarray:
    """uint8 [count, rows, cols]: discs on black with a dark centre that grows with age, and folds of their own."""
    from scipy.ndimage import gaussian_filter

    generator = np.random.default_rng(seed)
    y, x = np.mgrid[:rows, :cols]
    radius = np.hypot((y - rows / 2) / rows, (x - cols / 2) / cols)
    out = np.zeros((count, rows, cols), np.uint8)
    for i, age in enumerate(ages):
        folds = gaussian_filter(generator.normal(size=(rows, cols)).astype(np.float32), 2)
        hole = np.clip((radius - 0.05 - 0.12 * age / 90) * 20, 0.1, 1)
        out[i] = np.clip((radius < 0.42) * hole * (0.5 + 1.5 * folds), 0, 1) * 255
    return out


def main() -> None:
    """Measure, and print the result as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=5160, help="at each scale, and of real people in each split")
    parser.add_argument("--size", type=int, nargs=2, default=(96, 128), metavar=("ROWS", "COLS"))
    parser.add_argument("--bootstrap", type=int, default=200)
    parser.add_argument("--out", help="folder to keep; the same one again continues (default: a temporary one)")
    arguments = parser.parse_args()
    from brain_diffusion_jax.evaluation.image_set import ImageSet
    from brain_diffusion_jax.evaluation.probes.probe import Instruments
    from brain_diffusion_jax.evaluation.report import report
    from brain_diffusion_jax.evaluation.study import study
    from brain_diffusion_jax.evaluation.study.study_settings import StudySettings

    def people(seed: int) -> ImageSet:
        ages = np.random.default_rng(seed).uniform(18, 90, arguments.pictures)
        conditions = [{"age": float(a), "sex": "FM"[i % 2]} for i, a in enumerate(ages)]
        names = [f"{seed}-{i // 10}" for i in range(arguments.pictures)]
        return ImageSet(heads(arguments.pictures, *arguments.size, seed, ages), conditions, names)

    def sample(conditions: list[dict[str, Any]], scale: float, seed: int) -> np.ndarray:
        ages = np.array([c["age"] for c in conditions])
        return heads(len(ages), *arguments.size, seed, 50 + scale / 3 * (ages - 50))[..., None] / np.float32(255)

    def age_of(images: np.ndarray) -> np.ndarray:
        return 90 * (1 - images[:, 24:72, 32:96].mean((1, 2, 3)))

    real = {"train": people(1), "test": people(2)}
    settings = StudySettings((1.0, 3.0, 5.0, 7.0), bootstrap=arguments.bootstrap, model="made", title="Made pictures")
    instruments = Instruments([study.pixel_extractor()], age_of)
    stages: dict[str, float] = {}
    start = time.perf_counter()

    def progress(stage: str, done: int, total: int) -> None:
        stages[stage] = round(time.perf_counter() - start, 1)

    with contextlib.nullcontext(arguments.out) if arguments.out else tempfile.TemporaryDirectory() as folder:
        result = study.run_study(sample, real, instruments, settings, folder, progress=progress)
        report.write_report(result, folder)
    found = {
        "pictures": arguments.pictures,
        "size": list(arguments.size),
        "scales": len(settings.guidance_scales),
        "seconds": round(time.perf_counter() - start, 1),
        "stages_end_at_seconds": stages,
        "peak_memory_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
    }
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
