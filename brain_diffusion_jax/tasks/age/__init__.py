"""Regressors of age."""

from brain_diffusion_jax.tasks.spec import TaskSpec

SPEC = TaskSpec(
    kind="age",
    summary="the regressor that judges age",
    package=__name__,
    section="age_model",
    suffix="-age",
    makes_images=False,
    reports=True,
    use="Research: judging pictures by the age they look, and features for distances between sets of pictures.",
    output="Age in years from one picture",
    example="ages = model.predict(pictures)  # [n, rows, cols, 1] in [0, 1]",
)
