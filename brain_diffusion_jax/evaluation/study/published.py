"""The numbers of the reference system (REFERENCES.md), shown beside a study of its config; not comparable otherwise."""

from __future__ import annotations

SOURCE = (
    "Published (Cam-CAN, 5,160 slices, split by slice, FD on pytorch-fid InceptionV3 768-dimensional features, "
    "ages by fine-tuned DeepBrainNet)"
)
# row: FID, SSIM, MAE, MSE, RMSE, r
TABLE: dict[str, tuple[float, float, float, float, float, float]] = {
    "real": (0.0012, 0.5317, 3.96, 27.81, 5.27, 0.961),
    "w=7": (0.0663, 0.4965, 5.46, 47.73, 6.91, 0.950),
    "w=5": (0.0321, 0.5159, 4.83, 38.24, 6.18, 0.958),
    "w=3": (0.0159, 0.5286, 4.54, 33.56, 5.79, 0.959),
    "w=1": (0.0103, 0.5361, 6.89, 77.20, 8.79, 0.883),
}
COLUMNS = ("FD", "SSIM of pairs", "age mae", "age mse", "age rmse", "age r")


def published(row: str, metric: str) -> float | None:
    """The published value for a row such as "w=3" and a metric such as "age mae" or "FD[...]"."""
    name = "FD" if metric.startswith("FD[") else metric
    if row not in TABLE or name not in COLUMNS:
        return None
    return TABLE[row][COLUMNS.index(name)]
