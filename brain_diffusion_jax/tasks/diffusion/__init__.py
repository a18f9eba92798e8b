"""Conditional diffusion models."""

from brain_diffusion_jax.tasks.spec import TaskSpec

SPEC = TaskSpec(
    kind="diffusion",
    summary="a conditional diffusion model",
    package=__name__,
    section="data",
    makes_images=True,
    use="Research on synthetic brain MRI: studying generative models, testing pipelines, teaching.",
    output="Synthetic pictures of a brain of the requested covariates",
    example="pictures = model.sample([{condition}], guidance_scale=3.0)  # [n, rows, cols, 1]",
)
