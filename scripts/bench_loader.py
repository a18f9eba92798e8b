"""How many images a second the loader gives, on shards made for it.

Command:  python scripts/bench_loader.py [--pictures 20000] [--rows 128 --cols 96] [--batch 64] [--shards FOLDER]
Needed:   10,000 slices/s of 96x128 uint8 on 2 CPU cores; docs/data.md holds the measured number.

The images are smooth noise, which compresses about as well as brains do (4 to 1). They are read from
disk (page cache) through ArrayRecord, parsed, shuffled and batched; nothing is kept in memory.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

import numpy as np


def write_shards(folder: Path, pictures: int, rows: int, cols: int) -> None:
    """People of 40 images each, through the same code as `prepare`, from NIfTI volumes."""
    import nibabel
    from scipy import ndimage

    from brain_diffusion_jax.covariates import Schema
    from brain_diffusion_jax.data.prepare.pipeline import Preparation
    from brain_diffusion_jax.data.shards.splits import SplitSpec
    from brain_diffusion_jax.data.shards.writer import write_shards as write
    from brain_diffusion_jax.data.sources.cohort import CohortSpec, read_cohort
    from brain_diffusion_jax.data.sources.scan_slices import ScanSlices

    root = folder / "cohort"
    rng = np.random.default_rng(0)
    people = pictures // 40
    lines = ["participant_id\tage\tsex"]
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in (cols, rows, 40)), indexing="ij")
    head = (x**2 + y**2 + 0.1 * z**2 < 0.6).astype(np.float32)
    for number in range(people):
        name = f"sub-{number:05d}"
        lines.append(f"{name}\t{20 + number % 60}\t{'FM'[number % 2]}")
        noise = ndimage.gaussian_filter(rng.standard_normal(head.shape, np.float32), 2)
        data = np.clip(head * (120 + 400 * noise), 0, 255).astype(np.uint8)
        path = root / name / "anat" / f"{name}_T1w.nii"
        path.parent.mkdir(parents=True)
        image = nibabel.Nifti1Image(data, np.diag([2.0, 2.0, 2.0, 1.0]))
        nibabel.save(image, path)
    (root / "participants.tsv").write_text("\n".join(lines) + "\n")
    schema = Schema.from_json(
        [
            {"name": "age", "unit": "years", "low": 18, "high": 96},
            {"name": "sex", "values": ("F", "M")},
            {"name": "slice", "unit": "index", "low": 0, "high": 90},
        ]
    )
    preparation = Preparation(
        spacing_mm=(),
        grid="native",
        intensity={"rule": "fixed", "low": 0.0, "high": 255.0},
        slices={"rule": "range_index", "start": 0, "stop": 40},
    )
    split = SplitSpec(train=1.0, validation=0.0, test=0.0)
    cohort = read_cohort(CohortSpec(root=str(root)), schema)
    write(folder / "shards", ScanSlices(cohort, preparation, schema), split)


def measure(folder: Path, batch: int, seconds: float, threads: int) -> tuple[float, float]:
    """Images a second, and a second of CPU time (all threads), over `seconds` after a warm-up."""
    from brain_diffusion_jax.data.shards.loader import Loader

    loader = Loader(folder, "train", batch, seed=0, threads=threads)
    for _ in range(20):
        next(loader)
    start, cpu, count = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - start < seconds:
        count += len(next(loader)["image"])
    return count / (time.perf_counter() - start), count / (time.process_time() - cpu)


def main() -> None:
    """Measure, and print the result as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=20_000)
    parser.add_argument("--rows", type=int, default=128)
    parser.add_argument("--cols", type=int, default=96)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--shards", default="", help="measure these instead of making some")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(args.shards) if args.shards else Path(temporary) / "shards"
        if not args.shards:
            write_shards(Path(temporary), args.pictures, args.rows, args.cols)
        speeds = [measure(folder, args.batch, args.seconds, args.threads) for _ in range(args.repeats)]
        size = json.loads((folder / "contract.json").read_text())["image_size"]
    print(
        json.dumps(
            {
                "image_size": size,
                "batch": args.batch,
                "threads": args.threads,
                "pictures_per_second": [round(wall) for wall, _ in speeds],
                "pictures_per_cpu_second": [round(cpu) for _, cpu in speeds],
                "cpu_count": os.cpu_count(),
                "load_average_1min": round(os.getloadavg()[0], 1),
            }
        )
    )


if __name__ == "__main__":
    main()
