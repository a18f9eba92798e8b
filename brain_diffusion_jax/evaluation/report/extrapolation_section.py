"""What a report says of covariates that were asked for beyond their range."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from brain_diffusion_jax.evaluation.probes.condition_fidelity import Extrapolation
from brain_diffusion_jax.evaluation.report.condition_curves import extrapolation_curves
from brain_diffusion_jax.evaluation.report.report_tables import number
from brain_diffusion_jax.evaluation.study.extrapolation import curves_of
from brain_diffusion_jax.evaluation.study.study_result import StudyResult

HEAD = ("rises from", "rises to", "monotone", "Kendall's tau: mean", "least", "images")


def extrapolation_section(result: StudyResult, compare: Mapping[str, StudyResult]) -> dict[str, Any]:
    """A curve and two tables for each covariate; curves of `compare` stand beside those of the study."""
    figures, tables = [], []
    for name, answer in result.extrapolation.items():
        covariate, curves = curves_of(answer)
        for other, study in compare.items():
            if name in study.extrapolation:
                curves |= {f"{other}: {row}": curve for row, curve in curves_of(study.extrapolation[name])[1].items()}
        caption = f"{name}, read by {answer['reader']}: mean and spread of the images; shaded: the training range."
        figures.append({"image": extrapolation_curves(curves, covariate), "caption": caption})
        own = next(iter(curves.values()))
        shares = [f"{fraction:g}" for fraction in own.fractions]
        requested = {"name": f"requested ({covariate.unit})", "real": False, "cells": _cells(own.requested)}
        means = [{"name": row, "real": False, "cells": _cells(curve.means)} for row, curve in curves.items()]
        caption = f"Mean {name} of the images, by the fraction of the range that was asked for."
        tables.append({"head": ["", *shares], "rows": [requested, *means], "caption": caption})
        rows = [{"name": row, "real": False, "cells": _summary(curve)} for row, curve in curves.items()]
        tables.append({"head": ["", *HEAD], "rows": rows, "caption": "In fractions of the range. tau: of each image."})
    text = [
        "Each image keeps its noise and the other conditions of a real held-out person, while one condition moves from "
        "below its range to above it. Nobody in the training data is like that: what is asked is whether the answer "
        "goes on in the right direction. A measured volume ends at 0."
    ]
    title = "Beyond the range of the training data"
    return {"title": title, "text": text, "figures": figures, "tables": tables, "pairs": []}


def _cells(values: Any) -> list[dict[str, str]]:
    return [{"value": number(float(value)), "interval": "", "published": ""} for value in values]


def _summary(curve: Extrapolation) -> list[dict[str, str]]:
    tau = curve.kendall
    ends = [f"{curve.monotone_from:g}", f"{curve.monotone_to:g}", "yes" if curve.monotone else "no"]
    words = [*ends, f"{np.mean(tau):.2f}", f"{np.min(tau):.2f}", str(len(tau))]
    return [{"value": word, "interval": "", "published": ""} for word in words]
