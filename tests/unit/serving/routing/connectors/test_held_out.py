"""Customers who are held out: no segment of a tool can choose them by their score."""

from __future__ import annotations

from typing import Any

import pytest

from serving.routing.connectors.fields import FIELDS, values_of
from tests.unit.serving.routing.connectors.fakes import FakeListmonk, FakeMautic, FakeSendGrid
from tests.unit.serving.routing.connectors.world import message, opened, settings_of

TOOL: dict[str, Any] = {"url": "https://a.example", "user_env": "FORESEND_USER"}


@pytest.mark.parametrize(
    ("keys", "tool", "empty"),
    [
        ({"kind": "mautic", "password_env": "FORESEND_PASSWORD", **TOOL}, FakeMautic(), ""),
        ({"kind": "listmonk", "token_env": "FORESEND_PASSWORD", **TOOL}, FakeListmonk(), None),
        ({"kind": "sendgrid", "token_env": "FORESEND_TOKEN"}, FakeSendGrid(), None),
    ],
)
def test_by_default_a_tool_learns_who_is_held_out_and_not_their_scores(
    keys: dict[str, Any], tool: Any, empty: object
) -> None:
    connector = opened(settings_of(**keys), tool)

    held_out, other = (connector.preview(message(holdout=one)) for one in (True, False))

    assert held_out == {
        "foresend_score": empty,
        "foresend_tier": empty,
        "foresend_action": "send",
        "foresend_holdout": True,
    }
    assert other == {
        "foresend_score": 0.25,
        "foresend_tier": "high",
        "foresend_action": "send",
        "foresend_holdout": False,
    }


def test_the_score_of_who_is_held_out_is_not_told_by_fields_of_ones_own_either() -> None:
    written = values_of(message(holdout=True), {ours: ours for ours in FIELDS})

    assert [one for one, value in written.items() if value is None] == ["score", "tier", "until"]


def test_a_score_that_was_there_before_is_emptied() -> None:
    fake = FakeMautic({1: {}})
    keys = {"kind": "mautic", "password_env": "FORESEND_PASSWORD", **TOOL}
    connector = opened(settings_of(**keys), fake)
    connector.deliver([message("1")])

    connector.deliver([message("1", seq=2, holdout=True)])

    assert fake.contacts[1] == {
        "foresend_score": "",
        "foresend_tier": "",
        "foresend_action": "send",
        "foresend_holdout": 1,
    }
