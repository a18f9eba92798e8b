"""Where training's numbers go: metrics.jsonl, TensorBoard, a progress bar."""

from __future__ import annotations

import json
import logging
import math
import time
from pathlib import Path
from typing import Any

from brain_diffusion_jax import files
from brain_diffusion_jax.training.run_folder.event_file import EventFile
from brain_diffusion_jax.training.run_folder.store import require_folder

logger = logging.getLogger(__name__)

JSONL = "metrics.jsonl"


def read_jsonl(run: str | Path, upto_step: int | None = None) -> list[dict[str, Any]]:
    """Rows of run/metrics.jsonl in order. What cannot be read is left out with a warning; it is not worth a run."""
    rows, complaints = _rows(Path(run) / JSONL)
    for complaint in complaints:
        logger.warning("%s (left out)", complaint)
    return [row for row in rows if upto_step is None or row["step"] <= upto_step]


def _rows(path: Path) -> tuple[list[dict[str, Any]], list[str]]:
    parsed, complaints = files.read_json_lines(path)
    rows = []
    for row in parsed:
        plain = all(v is None or (isinstance(v, int | float) and not isinstance(v, bool)) for v in row.values())
        if plain and isinstance(row.get("step"), int):
            rows.append(row)
        else:
            complaints.append(f"{path}: row: found {str(row)[:80]}; expected a step and numbers")
    return rows, complaints


class MetricsWriter:
    """Appends rows to metrics.jsonl and TensorBoard; rows past `step` (of a killed run) are cut first."""

    def __init__(self, run: str | Path, step: int = 0) -> None:
        self._run = Path(run)
        self._open(step)

    def _open(self, step: int) -> None:
        path = self._run / JSONL
        if path.exists():
            kept = read_jsonl(self._run, step)
            if _rows(path)[1]:
                files.write_bytes(path.with_suffix(".damaged"), path.read_bytes())
            files.write_json_lines(path, kept)
        self._file = files.open_to_append(path)
        self._board = EventFile(self._run, purge_step=step + 1 if step else None)

    def cut(self, step: int) -> None:
        """Take back the rows past `step`, after a rollback."""
        self.close()
        self._open(step)

    def write(self, step: int, values: dict[str, float]) -> None:
        """One row; numbers that are not finite become null in JSON. InputError where the run folder is gone."""
        require_folder(self._run)
        row = {k: (float(v) if math.isfinite(v) else None) for k, v in values.items()}
        with files.naming(self._run / JSONL):
            self._file.write(json.dumps({"step": step, "time": round(time.time(), 2), **row}) + "\n")
            self._file.flush()
        self._board.scalars(step, {name: value for name, value in row.items() if value is not None})

    def image(self, step: int, name: str, image: Any) -> None:
        """A uint8 [rows, cols] or [rows, cols, 3] image in TensorBoard."""
        self._board.image(step, name, image)

    def close(self) -> None:
        with files.naming(self._run / JSONL):
            self._file.close()
        self._board.close()
