"""What covariates are to a study, by kind and unit."""

from __future__ import annotations

import pytest

from brain_diffusion_jax.covariates import Categorical, Continuous, Schema
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation.probes.roles import Roles

YEARS, GENDER = Continuous("lived years", "years", 20, 90), Categorical("gender", ("F", "M"))


HEIGHT = Continuous("cut", "mm", -10, 10)


def test_roles_follow_from_kind_and_unit():
    schema = Schema((HEIGHT, Continuous("weight", "kg", 0, 99), YEARS, GENDER))
    roles = Roles.of(schema)
    assert (roles.target, roles.position, roles.categorical) == (YEARS, HEIGHT, (GENDER,))
    assert [c.name for c in roles.numeric] == ["lived years", "cut", "weight"]
    assert Roles.of(schema, target="weight", position="lived years").target.name == "weight"
    assert Roles.of(Schema((GENDER,))) == Roles(None, None, (), (GENDER,))
    with pytest.raises(InputError, match="position: found gender"):
        Roles.of(schema, position="gender")
