"""One cell of a table to the value of a covariate, or the reason why not."""

from __future__ import annotations

import math
from collections.abc import Mapping

from brain_diffusion_jax.covariates import Continuous, Covariate
from brain_diffusion_jax.data.sources.cohort_table import MISSING, same_value


class Unusable(Exception):
    """A cell that gives no value; the text says what was found."""


def parse_value(text: str, covariate: Covariate, codes: Mapping[str, str]) -> float | str:
    """A finite number, or one of the covariate's words; raises Unusable.

    codes: code in the table -> word, before anything else is tried.
    """
    if text.lower() in MISSING:
        raise Unusable(f"missing ({text!r})")
    if isinstance(covariate, Continuous):
        try:
            number = float(text)
        except ValueError:
            hint = " (censored: the true value is not in the table)" if text.rstrip().endswith("+") else ""
            raise Unusable(f"no number ({text!r}){hint}") from None
        if not math.isfinite(number):
            raise Unusable(f"no finite number ({text!r})")
        return number
    for code, word in codes.items():
        if same_value(code, text):
            if (meant := covariate.word(word)) is None:
                raise Unusable(f"code {text!r} means {word!r}, which the schema does not have")
            return meant
    if (found := covariate.word(text)) is None:
        raise Unusable(f"unknown code {text!r}")
    return found
