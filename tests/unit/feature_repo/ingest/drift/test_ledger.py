"""What the ledger tells, and what it keeps to itself."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from feature_repo.ingest.drift.ledger import (
    MOST_LOGGED,
    MOST_WORDS,
    OTHER,
    Ledger,
)
from feature_repo.ingest.drift.metrics import DriftMetrics
from feature_repo.ingest.drift.observations import MOST_OBSERVATIONS
from feature_repo.ingest.drift.profile import BLOCK, LEARNING, Kind
from feature_repo.settings import Settings

START = datetime(2024, 6, 1, 12, tzinfo=UTC)

Feed = Callable[..., None]


@pytest.fixture
def ledger(settings: Settings) -> Iterator[Ledger]:
    one = Ledger(settings)
    yield one
    one.close()


@pytest.fixture
def feed(ledger: Ledger) -> Feed:
    """Let the ledger see a payload some number of times, and write."""

    def feed(payload: dict[str, Any], times: int = 1, word: str = "opened") -> None:
        for n in range(times):
            ledger.observe("mailgun", word, payload, True, START + timedelta(seconds=n))
        ledger.flush()

    return feed


USUAL = {"id": "x", "timestamp": 1.5, "client-info": {"bot": ""}}


def kinds(ledger: Ledger) -> list[tuple[str, str]]:
    return [(one.kind.value, one.path) for one in ledger.observations()]


def test_what_was_there_from_the_start_is_usual(ledger: Ledger, feed: Feed) -> None:
    feed(USUAL, LEARNING)
    feed(USUAL, BLOCK)

    assert kinds(ledger) == []


def test_added_fields_are_told_once_with_their_types(ledger: Ledger, feed: Feed) -> None:
    feed(USUAL, LEARNING)
    feed({**USUAL, "account": {"id": "a"}}, 3)
    feed({**USUAL, "account": {"id": "a"}}, 2)

    new = ledger.observations("mailgun")
    assert [(one.path, one.detail) for one in new] == [
        ("account", "object"),
        ("account.id", "string"),
    ]
    assert new[0].count == 5
    assert new[0].first_seen == START


def test_a_time_that_becomes_text_is_a_retyped_path(ledger: Ledger, feed: Feed) -> None:
    feed(USUAL, LEARNING)
    feed({**USUAL, "timestamp": "1585250199"}, 2)
    feed({**USUAL, "timestamp": "1585250199"}, 2)

    (one,) = ledger.observations()
    assert (one.kind, one.path, one.detail) == (
        Kind.RETYPED_PATH,
        "timestamp",
        "number -> string",
    )
    assert one.count == 4


def test_null_is_no_other_type(ledger: Ledger, feed: Feed) -> None:
    feed({"a": 1, "b": None}, LEARNING)
    feed({"a": None, "b": "now it is known"})

    assert kinds(ledger) == []


def test_a_path_that_was_always_there_and_is_gone_has_vanished(ledger: Ledger, feed: Feed) -> None:
    feed(USUAL, LEARNING)
    feed({"id": "x", "client-info": {"bot": ""}}, 30)
    assert kinds(ledger) == []

    feed({"id": "x", "client-info": {"bot": ""}}, 30)
    assert kinds(ledger) == [("vanished_path", "timestamp")]

    feed(USUAL)
    (one,) = ledger.observations()
    assert one.over


def test_what_was_inside_something_gone_is_not_told_again(ledger: Ledger, feed: Feed) -> None:
    feed(USUAL, LEARNING)
    feed({"id": "x", "timestamp": 1.5}, 60)

    assert kinds(ledger) == [("vanished_path", "client-info")]


def test_a_rare_field_does_not_vanish(ledger: Ledger, feed: Feed) -> None:
    for _ in range(10):
        feed(USUAL, 10)
        feed({**USUAL, "tags": ["a"]}, 10)
    feed(USUAL, 300)

    assert kinds(ledger) == []


def test_a_slow_trickle_does_not_hide_that_a_path_is_gone(ledger: Ledger) -> None:
    for _ in range(LEARNING):
        ledger.observe("mailgun", "opened", USUAL, True, START)
    ledger.flush()
    for n in range(120):
        at = START + timedelta(hours=n)
        ledger.observe("mailgun", "opened", {"id": "x", "client-info": {"bot": ""}}, True, at)
        ledger.flush()

    assert kinds(ledger) == [("vanished_path", "timestamp")]


def test_a_null_rate_that_jumps_is_told(ledger: Ledger, feed: Feed) -> None:
    feed(USUAL, LEARNING)
    feed(USUAL, BLOCK)
    for _ in range(BLOCK // 20):
        feed(USUAL, 10)
        feed({**USUAL, "client-info": None}, 10)

    (one,) = ledger.observations()
    assert (one.kind, one.path) == (Kind.NULL_RATE_JUMP, "client-info")
    assert one.detail == "missing in 0% -> 50% of events"


def test_chance_is_no_jump(ledger: Ledger, feed: Feed) -> None:
    chance = random.Random(7)
    for _ in range(40):
        for _ in range(chance.randint(40, 120)):
            tag = {"tag": "x"} if chance.random() < 0.7 else {}
            ledger.observe("mailgun", "opened", {**USUAL, **tag}, True, START)
        ledger.flush()

    assert kinds(ledger) == []


def test_few_events_prove_nothing(ledger: Ledger, feed: Feed) -> None:
    feed(USUAL, LEARNING)
    feed({"id": "x", "timestamp": 1.5, "client-info": None}, 20)

    assert kinds(ledger) == []


def test_a_word_never_heard_before_is_told(ledger: Ledger, feed: Feed) -> None:
    feed(USUAL, 10)
    feed(USUAL, 2, word="list_member_uploaded")

    (one,) = ledger.observations()
    assert (one.kind, one.word, one.count) == (Kind.NEW_WORD, "list_member_uploaded", 2)


def test_the_ledger_survives_a_restart(settings: Settings) -> None:
    first = Ledger(settings)
    for _ in range(LEARNING):
        first.observe("mailgun", "opened", USUAL, True, START)
    first.close()

    second = Ledger(settings)
    second.observe("mailgun", "opened", {**USUAL, "account": 1}, True, START)
    second.close()

    assert kinds(second) == [("new_path", "account")]
    assert second.profile("mailgun", "opened").events == LEARNING + 1
    second.close()


def test_it_writes_by_itself_every_few_seconds(settings: Settings) -> None:
    now = [0.0]
    ledger = Ledger(settings, monotonic=lambda: now[0])
    ledger.observe("mailgun", "opened", USUAL, True, START)
    assert ledger.profile("mailgun", "opened").events == 0

    now[0] = 6.0
    ledger.observe("mailgun", "opened", USUAL, True, START)

    assert ledger.profile("mailgun", "opened").events == 2
    ledger.close()


def test_neither_values_nor_addresses_are_kept_or_logged(
    ledger: Ledger, feed: Feed, settings: Settings
) -> None:
    feed(USUAL, LEARNING)
    with capture_logs() as logs:
        feed({**USUAL, "recipient": "jane@example.com", "by": {"joe@example.com": 1}}, 2)
        feed(USUAL, 2, word="ann@example.com")

    assert {entry["event"] for entry in logs} == {"drift_observed"}
    stored = b"".join(file.read_bytes() for file in settings.state_path.glob("drift.db*"))
    assert "@example" not in str(logs)
    assert b"@example" not in stored


def test_a_hostile_sender_fills_neither_memory_nor_disk(ledger: Ledger) -> None:
    for n in range(1000):
        payload = {f"field_{n}_{m}x": 1 for m in range(20)}
        ledger.observe("mailgun", f"word {n} x", payload, False, START)
        ledger.observe("mailgun", "opened", payload, False, START)
        if n % 250 == 0:
            ledger.flush()
    with capture_logs() as logs:
        ledger.flush()

    assert len(logs) <= MOST_LOGGED + 1
    words = {one.word for one in ledger.observations()}
    assert len(words) <= MOST_WORDS + 1
    assert OTHER in words
    assert len(ledger.observations()) <= MOST_OBSERVATIONS
    assert Kind.TOO_MANY_PATHS in {one.kind for one in ledger.observations()}


def test_events_flow_on_when_the_ledger_cannot_be_written(settings: Settings) -> None:
    settings.state_path.mkdir(parents=True)
    (settings.state_path / "drift.db").mkdir()
    registry = CollectorRegistry()
    ledger = Ledger(settings, metrics=DriftMetrics(registry))
    with capture_logs() as logs:
        ledger.observe("mailgun", "opened", USUAL, True, START)
        ledger.flush()
    assert [entry["event"] for entry in logs] == ["drift_ledger_not_written"]

    (settings.state_path / "drift.db").rmdir()
    ledger.flush()

    assert ledger.profile("mailgun", "opened").events == 1
    assert registry.get_sample_value("foresend_drift_flush_failures_total") == 1
    ledger.close()
