"""Policies: what makes one, what a score at a cut belongs to, and what tags are believed."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from serving.registry import Version
from serving.tiers import BadPolicy, TierPolicy, approved_policy, checked, from_json, to_json

AT = "2026-11-24T09:00:00+00:00"
POLICY = {"names": ["low", "medium", "high"], "cuts": [0.2, 0.5], "shares": [0.6, 0.3, 0.1]}


def version(**tags: str) -> Version:
    return Version("purchase_30d", "3", "run-3", "models:/m-3", tags)


def approved(policy: Any = POLICY, **changed: str) -> Version:
    text = policy if isinstance(policy, str) else json.dumps(policy)
    tags = {"tiers.status": "approved", "tiers.policy": text, "tiers.by": "ann", "tiers.at": AT}
    return version(**{**tags, **changed})


def policy() -> TierPolicy:
    found = approved_policy(approved())
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("score", "tier"),
    [
        (0.0, "low"),
        (np.nextafter(0.2, 0), "low"),
        # Exactly at a cut: the tier above.
        (0.2, "medium"),
        (np.nextafter(0.5, 0), "medium"),
        (0.5, "high"),
        (1.0, "high"),
        (float("nan"), None),
    ],
)
def test_a_score_has_the_tier_from_its_cut_up(score: float, tier: str | None) -> None:
    assert policy().tiers(np.array([score])) == [tier]


def test_one_tier_takes_every_score() -> None:
    found = approved_policy(approved({"names": ["all"], "cuts": []}))

    assert found is not None
    assert found.tiers(np.array([0.0, 1.0])) == ["all", "all"]
    assert found.shares is None


def test_an_approved_policy_says_by_whom_when_and_of_which_version() -> None:
    found = policy()

    assert (found.model_version, found.run_id, found.approved_by) == ("3", "run-3", "ann")
    assert found.approved_at == datetime(2026, 11, 24, 9, tzinfo=UTC)
    assert found.is_of(version())
    assert not found.is_of(Version("purchase_30d", "3", "run-of-another-registry", "x"))


@pytest.mark.parametrize("status", [None, "proposed", "rejected", "Approved", ""])
def test_what_is_not_approved_is_no_policy_however_sound(status: str | None) -> None:
    tags = dict(approved().tags)
    del tags["tiers.status"]

    assert approved_policy(version(**tags, **({"tiers.status": status} if status else {}))) is None


@pytest.mark.parametrize(
    "damaged",
    [
        approved("{"),
        approved("null"),
        approved("[]"),
        approved({"names": ["low", "high"]}),
        approved({"names": ["low", "high"], "cuts": [0.5, 0.6]}),
        approved({"names": ["low", "low"], "cuts": [0.5]}),
        approved({"names": ["low", "mid", "high"], "cuts": [0.5, 0.5]}),
        approved({"names": ["low", "high"], "cuts": [float("nan")]}),
        approved({"names": ["low", "high"], "cuts": ["0.5"]}),
        approved({"names": ["low", "high"], "cuts": [True]}),
        approved({"names": ["low", "high"], "cuts": [1.0]}),
        approved({"names": [], "cuts": []}),
        approved({"names": [1, 2], "cuts": [0.5]}),
        approved({"names": ['a"}', "b"], "cuts": [0.5]}),
        approved({"names": [str(i) for i in range(11)], "cuts": [i / 11 for i in range(1, 11)]}),
        approved(**{"tiers.by": " "}),
        approved(**{"tiers.at": "yesterday"}),
        version(**{"tiers.status": "approved"}),
    ],
    ids=lambda v: str(dict(v.tags))[:60],
)
def test_a_damaged_policy_is_told_with_its_cure(damaged: Version) -> None:
    with pytest.raises(BadPolicy, match="purchase_30d version 3") as caught:
        approved_policy(damaged)

    assert "foresend tiers approve purchase_30d --version 3" in str(caught.value)


def test_shares_that_cannot_be_read_do_not_stop_a_policy() -> None:
    found = approved_policy(approved({**POLICY, "shares": [0.5, "many"]}))

    assert found is not None
    assert found.shares is None


def test_names_of_any_language_are_names() -> None:
    assert checked(["kalt", "heiß", "très chaud"], [0.1, 0.2])[0][2] == "très chaud"


def test_a_policy_is_read_back_as_it_was_kept() -> None:
    assert from_json(json.loads(json.dumps(to_json(policy())))) == policy()
