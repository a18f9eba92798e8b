from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brain_diffusion_jax.data.shards import splits
from brain_diffusion_jax.data.shards.splits import SplitSpec, assign
from brain_diffusion_jax.errors import InputError

PEOPLE = [f"sub-{i:04d}" for i in range(3000)]


def test_shares_and_seeds():
    counts = Counter(assign(PEOPLE, SplitSpec()).values())
    for name, share in (("train", 0.6), ("validation", 0.2), ("test", 0.2)):
        assert counts[name] / 3000 == pytest.approx(share, abs=0.03)
    other = assign(PEOPLE, SplitSpec(seed=1))
    assert other != assign(PEOPLE, SplitSpec())


@given(st.lists(st.text(min_size=1, max_size=8), unique=True, max_size=40), st.integers(0, 5))
def test_adding_people_moves_nobody(newcomers, seed):
    spec = SplitSpec(seed=seed)
    before, after = assign(PEOPLE[:50], spec), assign([*newcomers, *PEOPLE[:50]], spec)
    assert {p: after[p] for p in PEOPLE[:50]} == before


def test_the_assignment_of_this_version_is_kept():
    """Published splits must not change under anybody's feet: these are facts of the hash."""
    found = assign(PEOPLE[:8], SplitSpec(seed=0))
    assert [found[p] for p in PEOPLE[:8]] == [
        "validation",
        "train",
        "validation",
        "train",
        "test",
        "train",
        "validation",
        "train",
    ]


def test_strata_are_alike_and_newcomers_move_few():
    rng = np.random.default_rng(0)
    strata = {p: (int(rng.integers(8)), "FM"[int(rng.integers(2))]) for p in PEOPLE}
    spec = SplitSpec(stratify=("age", "sex"))
    some = PEOPLE[:2000]
    before = assign(some, spec, strata)
    for stratum in set(strata.values()):
        members = [p for p in some if strata[p] == stratum]
        share = np.mean([before[p] == "train" for p in members])
        assert share == pytest.approx(0.6, abs=1.01 / len(members))
    after = assign([*some, "sub-2500"], spec, strata)
    assert sum(after[p] != before[p] for p in some) <= 2


def test_tiny_strata_do_not_all_go_to_train():
    strata = {p: i for i, p in enumerate(PEOPLE)}
    counts = Counter(assign(PEOPLE, SplitSpec(stratify=("age",)), strata).values())
    assert counts["test"] / 3000 == pytest.approx(0.2, abs=0.03)


def test_by_slice_spreads_one_person_and_says_so():
    spec = SplitSpec(unit="slice")
    assert len({splits.assign_slice("a", "a", k, spec) for k in range(40)}) == 3
    assert re.search("neighbouring slices of one person.*far too good", spec.section().warning or "")
    assert "warning" not in SplitSpec().section().to_json()


def test_an_empty_split_is_refused():
    with pytest.raises(InputError, match=r"participants.tsv: validation: found nobody \(2 in all, fraction 0.2\)"):
        splits.require_no_empty(["train", "test"], SplitSpec(), "participants.tsv")
    spec = SplitSpec(train=0.5, validation=0.0, test=0.5)
    assert splits.require_no_empty(["train", "test"], spec) == {"train": 1, "test": 1}
    assert "validation" not in assign(PEOPLE, spec).values()


@pytest.mark.parametrize("keys", [{"unit": "scan"}, {"train": 0.9}, {"train": 1.2, "test": -0.4}])
def test_wrong_specs_are_refused(keys):
    with pytest.raises(InputError, match="split: "):
        SplitSpec(**keys)
