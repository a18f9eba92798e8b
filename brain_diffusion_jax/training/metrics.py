"""Where training's numbers go: metrics.jsonl, TensorBoard, a progress bar."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

from brain_diffusion_jax.training.store import require_folder

JSONL = "metrics.jsonl"


def read_jsonl(run: str | Path, upto_step: int | None = None) -> list[dict[str, Any]]:
    """Rows of run/metrics.jsonl in order; a half-written last line (a killed run) is left out."""
    path = Path(run) / JSONL
    rows = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        if upto_step is None or row["step"] <= upto_step:
            rows.append(row)
    return rows


class MetricsWriter:
    """Appends rows to metrics.jsonl and TensorBoard; rows past `step` (of a killed run) are cut first."""

    def __init__(self, run: str | Path, step: int = 0) -> None:
        self._run = Path(run)
        self._open(step)

    def _open(self, step: int) -> None:
        from tensorboardX import SummaryWriter

        path = self._run / JSONL
        if path.exists():
            kept = read_jsonl(self._run, step)
            part = path.with_name(path.name + ".part")
            part.write_text("".join(json.dumps(row) + "\n" for row in kept))
            part.replace(path)
        self._file = path.open("a")
        self._board = SummaryWriter(str(self._run), purge_step=step + 1 if step else None)

    def cut(self, step: int) -> None:
        """Take back the rows past `step`, after a rollback."""
        self.close()
        self._open(step)

    def write(self, step: int, values: dict[str, float]) -> None:
        """One row; numbers that are not finite become null in JSON. InputError where the run folder is gone."""
        require_folder(self._run)
        row = {k: (float(v) if math.isfinite(v) else None) for k, v in values.items()}
        self._file.write(json.dumps({"step": step, "time": round(time.time(), 2), **row}) + "\n")
        self._file.flush()
        for name, value in row.items():
            if value is not None:
                self._board.add_scalar(name, value, step)

    def image(self, step: int, name: str, picture: Any) -> None:
        """A uint8 [rows, cols] or [rows, cols, 3] picture in TensorBoard."""
        self._board.add_image(name, picture, step, dataformats="HW" if picture.ndim == 2 else "HWC")

    def close(self) -> None:
        self._file.close()
        self._board.close()
