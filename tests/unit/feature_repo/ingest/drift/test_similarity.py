"""How alike two paths are, by their names and by their values."""

from __future__ import annotations

import json
import random
import uuid
from typing import Any

import pytest

from feature_repo.ingest.drift.masking import masked
from feature_repo.ingest.drift.renames import MARGIN, find_renames, name_similarity
from feature_repo.ingest.drift.values import value_class, value_similarity

chance = random.Random(3)

TIMES = [1_717_243_200 + n for n in range(200)]
ADDRESSES = [f"customer{chance.randrange(40)}@example.com" for _ in range(200)]
SENDERS = ["news@shop.example"] * 200
IDS = [str(uuid.UUID(int=chance.getrandbits(128))) for _ in range(400)]
AMOUNTS = [round(chance.lognormvariate(3, 1), 2) for _ in range(400)]


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("jane@example.com", "address"),
        ("https://shop.example/", "url"),
        ("203.0.113.4", "ip"),
        ("2001:db8::1", "ip"),
        ("6a372080-7778-11ea-8001-74013c544d9e", "uuid"),
        ("2020-04-05 20:02:45.000 +0000", "time"),
        ("2020-99-05 20:02:45", "text"),
        (1461095250, "epoch_s"),
        ("1461095250123", "epoch_ms"),
        (12.5, "decimal"),
        ("17", "whole"),
        (True, "flag"),
        ("open", "word"),
        ("wrfRRvF7Q0GgwUo2CvDmEA.filter1", "token"),
        ("Hello you", "text"),
        ("", "nothing"),
        (10**400, "whole"),
    ],
)
def test_the_kind_of_a_value(value: object, kind: str) -> None:
    assert value_class(value) == kind


def test_the_same_field_later_is_alike_and_others_are_not() -> None:
    later = [f"customer{chance.randrange(40)}@example.com" for _ in range(80)]

    assert value_similarity(ADDRESSES, later) > 0.9
    # Same kind, another meaning.
    assert value_similarity(ADDRESSES, SENDERS[:80]) < 0.7
    assert value_similarity(ADDRESSES, IDS[:80]) == 0


def test_ids_never_recur_and_are_alike_all_the_same() -> None:
    assert value_similarity(IDS[:200], IDS[200:260]) > 0.95


def test_times_that_moved_on_are_alike_in_either_unit() -> None:
    later = [time + 86_400 for time in TIMES[:50]]

    assert value_similarity(TIMES, later) == 1.0
    assert value_similarity(TIMES, [time * 1000 for time in later]) > 0.8


def test_numbers_are_told_apart_by_their_distribution() -> None:
    assert value_similarity(AMOUNTS[:200], AMOUNTS[200:]) > 0.8
    assert value_similarity(AMOUNTS[:200], [a * 100 for a in AMOUNTS[200:]]) < 0.75


def test_names_are_compared_by_their_words() -> None:
    assert name_similarity("timestamp", "eventTimestamp") == 1.0
    assert name_similarity("client-info.user-agent", "client.userAgent") == 1.0
    assert name_similarity("timestamp", "category") < 0.4


def test_renames_are_assigned_together() -> None:
    vanished: dict[str, list[Any]] = {"email": ADDRESSES, "id": IDS[:200], "timestamp": TIMES}
    appeared: dict[str, list[Any]] = {
        "recipientEmail": ADDRESSES[:50],
        "eventId": IDS[200:250],
        "event_timestamp": [time + 9000 for time in TIMES[:50]],
    }

    found = {one.old: one for one in find_renames(vanished, appeared)}

    assert {old: one.new for old, one in found.items()} == {
        "email": "recipientEmail",
        "id": "eventId",
        "timestamp": "event_timestamp",
    }
    assert all(one.is_proposed for one in found.values())


def test_two_equal_candidates_are_no_proposal() -> None:
    times = [time + 9000 for time in TIMES[:50]]

    (one,) = find_renames({"timestamp": TIMES}, {"time_a": times, "time_b": times})

    assert one.score >= 0.8
    assert one.margin < MARGIN
    assert not one.is_proposed


def test_what_is_shown_names_nobody() -> None:
    payload = {
        "event": "open",
        "email": "jane@example.com",
        "timestamp": 1461095250,
        "user": {"name": "Jane Doe", "first": "Jane", "phone": 491701234567, "ip": "203.0.113.4"},
        "by": {"joe@example.com": [None, True, "2024-03-04T10:00:00Z"]},
    }

    shown = masked(payload, "open")

    assert shown["event"] == "open"
    assert shown["timestamp"] == 1461095250
    text = json.dumps(shown)
    assert not any(word in text for word in ("Jane", "jane", "Doe", "joe", "203.0", "4917"))
    assert shown["by"]["*"] == [None, True, "2024-03-04T10:00:00Z"]
