"""Classifiers of a categorical covariate; their kind is "class"."""

from brain_diffusion_jax.tasks.spec import TaskSpec

SPEC = TaskSpec(
    kind="class",
    summary="the classifier that judges class fidelity",
    package=__name__,
    section="class_model",
    suffix="-class",
    makes_images=False,
    reports=True,
    use="Research: judging whether pictures show the class asked for, and features for distances between sets.",
    output="Probabilities of the classes from one picture",
    example="found = model.probabilities(pictures)  # [n, rows, cols, 1] in [0, 1]",
)
