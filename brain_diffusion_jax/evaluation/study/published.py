"""The numbers of the reference system (REFERENCES.md), shown beside a study of its config; not comparable otherwise."""

from __future__ import annotations

from brain_diffusion_jax.evaluation.metrics.metric_id import SSIM, MetricId

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
# (group, statistic) of the columns; the errors are the regressor's own.
COLUMNS = (("FD", ""), (SSIM, ""), ("", "mae"), ("", "mse"), ("", "rmse"), ("", "r"))


def published(row: str, metric: MetricId) -> float | None:
    """The published value for a row such as "w=3" and a metric of the target or of the pictures."""
    place = (metric.group, metric.statistic)
    second = bool(metric.reader) and metric.group != "FD"
    return None if row not in TABLE or place not in COLUMNS or second else TABLE[row][COLUMNS.index(place)]


# Pinaya et al. 2022, table 1: FID (MedicalNet features), MS-SSIM and 4-G-R-SSIM as means over 1,000 pairs.
PINAYA_2022 = "pinaya2022"
PROTOCOLS = {
    PINAYA_2022: {
        "published: real people": (0.0005, 0.6536, 0.3909),
        "published: latent diffusion, 1000 steps": (0.0076, 0.6555, 0.3883),
        "published: latent diffusion, DDIM 50": (0.0080, 0.6704, 0.3957),
        "published: LSGAN": (0.0231, 0.9997, 0.9969),
        "published: VAE-GAN": (0.1576, 0.9671, 0.8719),
    }
}
PROTOCOL_SOURCE = (
    "Published: Pinaya et al. 2022, UK Biobank, 31,740 people, 160x224x160 at 1 mm. A Frechet distance depends on the "
    "data, the grid, the number of images and the scale of the features: compare it with the real row of its own "
    "system only. Similarity is a mean over pairs of different people, and counts by its closeness to the real row."
)
