from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from feature_repo.event import EventType
from feature_repo.targets import BadDeclaration, Spine, target_from

CLICK = {"event": "clicked", "horizon_days": 7, "spine": "sent"}


def test_a_declaration_becomes_a_target_with_the_defaults_of_its_spine() -> None:
    sent = target_from("click_7d", CLICK)
    weekly = target_from("click_7d", CLICK | {"spine": "weekly"})

    assert (sent.events, sent.horizon, sent.spine) == (
        (EventType.CLICKED,),
        timedelta(days=7),
        Spine.SENT,
    )
    assert (sent.active_within, sent.warm_up, sent.grace) == (None, timedelta(0), None)
    assert (weekly.active_within, weekly.warm_up) == (timedelta(days=365), timedelta(days=28))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"event": ["purchased", "opened"], "absent": True},
        {"grace_days": 2.5, "active_within_days": 90, "warm_up_days": 0, "spine": "weekly"},
        {"monotone": {"hours_since_last_purchase": -1, "purchases_total": 1}},
    ],
)
def test_the_full_declaration_reads_back_as_the_same_target(changes: dict[str, Any]) -> None:
    target = target_from("a", CLICK | changes)

    assert target_from("a", target.to_declaration()) == target


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"event": "clickd"}, ["event", "'clickd'", "did you mean 'clicked'", "purchased"]),
        ({"event": "unknown"}, ["event", "'unknown'"]),  # a kind of the log, not of a target
        ({"event": []}, ["event", "[]"]),
        ({"event": [{"a": 1}]}, ["event", "{'a': 1}"]),
        ({"event": None}, ["event", "None"]),
        ({"horizon_days": 0}, ["horizon_days", "0", "above 0"]),
        ({"horizon_days": -3}, ["horizon_days", "-3"]),
        ({"horizon_days": float("nan")}, ["horizon_days", "nan"]),
        ({"horizon_days": float("inf")}, ["horizon_days", "inf"]),
        ({"horizon_days": 1e-12}, ["horizon_days", "1e-12"]),  # less than a microsecond
        ({"horizon_days": True}, ["horizon_days", "True"]),
        ({"horizon_days": "7"}, ["horizon_days", "'7'"]),
        ({"horizon_days": 9999}, ["horizon_days", "9999", "3650"]),
        ({"spine": "daily"}, ["spine", "'daily'", "sent", "weekly"]),
        ({"spine": ["sent"]}, ["spine", "['sent']"]),
        ({"absent": "no"}, ["absent", "'no'"]),
        ({"grace_days": "soon"}, ["grace_days", "'soon'", "auto"]),
        ({"grace_days": -1}, ["grace_days", "-1"]),
        ({"active_within_days": 0}, ["active_within_days", "0"]),
        ({"active_within_days": None, "spine": "weekly"}, ["active_within_days", "null"]),
        ({"warm_up_days": -1}, ["warm_up_days", "-1"]),
        ({"monotone": ["opens_total"]}, ["monotone", "['opens_total']", "their direction"]),
        ({"monotone": {"opens_totl": 1}}, ["'opens_totl'", "did you mean 'opens_total'"]),
        ({"monotone": {"country": 1}}, ["'country'", "no numeric feature"]),
        ({"monotone": {"opens_total": 0}}, ["monotone.opens_total", "0", "-1"]),
        ({"monotone": {"opens_total": True}}, ["monotone.opens_total", "True"]),
        ({"horizon": 7}, ["horizon is not a field", "did you mean 'horizon_days'"]),
    ],
)
def test_a_bad_value_is_named_with_its_key_and_the_cure(
    changes: dict[str, Any], said: list[str]
) -> None:
    with pytest.raises(BadDeclaration) as caught:
        target_from("click_7d", CLICK | changes)

    for words in said:
        assert words in str(caught.value)


@pytest.mark.parametrize("key", ["event", "horizon_days", "spine"])
def test_a_required_key_that_lacks_is_named(key: str) -> None:
    declaration = {name: value for name, value in CLICK.items() if name != key}

    with pytest.raises(BadDeclaration, match=f"{key} is missing"):
        target_from("click_7d", declaration)


@pytest.mark.parametrize("name", ["", "Click", "7d", "a-b", "a b", "x" * 64, 7, None])
def test_a_name_that_is_no_model_name_is_refused(name: object) -> None:
    with pytest.raises(BadDeclaration, match="cannot be used"):
        target_from(name, CLICK)


@pytest.mark.parametrize("declaration", [None, 7, "clicked", ["clicked"]])
def test_a_declaration_without_fields_is_refused(declaration: object) -> None:
    with pytest.raises(BadDeclaration, match="write its fields"):
        target_from("click_7d", declaration)
