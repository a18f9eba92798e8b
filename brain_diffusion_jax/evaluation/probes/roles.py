"""What the covariates of a schema are to a study, by their kind and unit, never by their name."""

from __future__ import annotations

from dataclasses import dataclass

from brain_diffusion_jax.covariates import Categorical, Continuous, Schema
from brain_diffusion_jax.errors import InputError, nearest

AGE_UNIT = "years"
POSITION_UNITS = ("index", "mm")


@dataclass(frozen=True)
class Roles:
    """target: what predictors read and anatomy is related to. position: where a slice lies. None: there is none.

    numeric: every continuous covariate, the target first; categorical: every other one; both in the schema's order.
    """

    target: Continuous | None
    position: Continuous | None
    numeric: tuple[Continuous, ...] = ()
    categorical: tuple[Categorical, ...] = ()

    @classmethod
    def of(cls, schema: Schema, target: str = "", position: str = "") -> Roles:
        """The covariates called `target` and `position`, by default those whose unit says so.

        A target is counted in years, or else the first number that is no position; a position in slices or mm.
        Raises InputError for a name that the schema does not have or that is no number.
        """
        numbers = [c for c in schema.covariates if isinstance(c, Continuous)]

        def named(role: str, name: str) -> Continuous:
            for covariate in numbers:
                if covariate.name == name:
                    return covariate
            raise InputError("study", role, name, f"a number of the schema; {nearest(name, [c.name for c in numbers])}")

        places = [c for c in numbers if c.unit in POSITION_UNITS and c.name != target]
        where = named("position", position) if position else next(iter(places), None)
        others = [c for c in numbers if c is not where]
        what = next((c for c in others if c.unit == AGE_UNIT), next(iter(others), None))
        what = named("target", target) if target else what
        ordered = (*((what,) if what else ()), *(c for c in numbers if c is not what))
        return cls(what, where, ordered, tuple(c for c in schema.covariates if isinstance(c, Categorical)))

    @property
    def in_years(self) -> bool:
        """Whether limits in years apply to the target: its unit says so, or nothing says otherwise."""
        return self.target is not None and self.target.unit in (AGE_UNIT, "")
