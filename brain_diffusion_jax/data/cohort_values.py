"""One cell of a table to the value of a covariate, or the reason why not."""

from __future__ import annotations

import math
from collections.abc import Mapping

from brain_diffusion_jax.covariates import Continuous, Covariate
from brain_diffusion_jax.data.cohort_table import MISSING, same_value

# Words that can mean one thing only. Numbers cannot: 1 is male in one cohort and female in another.
_SEX_WORDS = {"m": "M", "male": "M", "f": "F", "female": "F"}


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
            if word not in covariate.values:
                raise Unusable(f"code {text!r} means {word!r}, which the schema does not have")
            return word
    if text in covariate.values:
        return text
    if set(covariate.values) == {"F", "M"} and text.lower() in _SEX_WORDS:
        return _SEX_WORDS[text.lower()]
    folded = [word for word in covariate.values if word.lower() == text.lower()]
    if len(folded) == 1:
        return folded[0]
    raise Unusable(f"unknown code {text!r}")
