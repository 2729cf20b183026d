"""SendGrid: jobs, sizes, fields by id."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from feature_repo.errors import ConfigError
from serving.routing.connectors.port import DELIVERED, Connector, Fate, Outcome
from serving.routing.message import Routed
from tests.unit.serving.routing.connectors.fakes import FakeSendGrid
from tests.unit.serving.routing.connectors.world import (
    Bench,
    Scripted,
    Time,
    message,
    opened,
    settings_of,
)

KEYS: dict[str, Any] = {"kind": "sendgrid", "token_env": "FORESEND_TOKEN", "rate_per_s": 1_000}


def to_the_end(connector: Connector, batch: list[Routed], time: Time) -> dict[str, Outcome]:
    """Outcomes by customer, when each job has ended."""
    done: dict[str, Outcome] = {}
    left = batch
    for _ in range(100):
        outcomes = connector.deliver(left)
        for one, outcome in zip(left, outcomes, strict=True):
            if outcome.fate is not Fate.PENDING:
                done[one.customer_id] = outcome
        left = [one for one in left if one.customer_id not in done]
        if not left:
            return done
        time.sleep(5.0)
    pytest.fail("the jobs do not end")


def test_fields_are_addressed_by_id_and_the_job_is_waited_for() -> None:
    sendgrid = FakeSendGrid({"ann": {"w1": "kept"}}, pending_polls=2)
    time = Time()
    connector = opened(settings_of(**KEYS), sendgrid, time)

    first = connector.deliver([message("ann"), message("bob", tier=None)])
    second = connector.deliver([message("ann"), message("bob", tier=None)])
    done = to_the_end(connector, [message("ann"), message("bob", tier=None)], time)

    assert {one.fate for one in (*first, *second)} == {Fate.PENDING}
    assert done == {"ann": DELIVERED, "bob": DELIVERED}
    assert sendgrid.contacts["ann"] == {
        "w1": "kept",
        "e1_N": 0.25,
        "e2_T": "high",
        "e3_T": "send",
        "e4_T": "false",
    }
    assert sendgrid.contacts["bob"]["e2_T"] == ""
    assert sendgrid.puts == [2]


def test_errors_of_a_job_are_told_apart() -> None:
    sendgrid = FakeSendGrid(invalid={"c5"}, pending_polls=0)
    time = Time()
    connector = opened(settings_of(**KEYS), sendgrid, time)

    done = to_the_end(connector, [message(f"c{n}") for n in range(11)], time)

    assert [one for one, outcome in done.items() if outcome.fate is Fate.DEAD] == ["c5"]
    assert len(sendgrid.contacts) == 10
    assert "failed" in done["c5"].reason


def test_a_job_that_was_lost_is_sent_again() -> None:
    sendgrid = FakeSendGrid(pending_polls=0)
    time = Time()
    connector = opened(settings_of(**KEYS), sendgrid, time)

    connector.deliver([message()])
    sendgrid.jobs.clear()
    (lost,) = connector.deliver([message()])
    done = to_the_end(connector, [message()], time)

    assert lost.fate is Fate.RETRY
    assert done == {"ann": DELIVERED}
    assert sendgrid.puts == [1, 1]


def test_a_job_that_never_ends_is_sent_again_after_a_quarter_of_an_hour() -> None:
    time = Time()
    connector = opened(settings_of(**KEYS), FakeSendGrid(pending_polls=10_000), time)
    connector.deliver([message()])
    fates = []
    while time.seconds < 910:
        time.sleep(5.0)
        fates.append(connector.deliver([message()])[0].fate)

    assert fates[-3:].count(Fate.RETRY) == 1
    assert set(fates[:-3]) == {Fate.PENDING}


@pytest.mark.parametrize(
    ("first", "after_s"),
    [
        (httpx.Response(503), 5.0),
        (httpx.Response(429, headers={"Retry-After": "30"}), 30.0),
        (httpx.Response(400), 5.0),
        (httpx.Response(200, text="<html>"), 60.0),
        (httpx.ReadTimeout("slow"), 5.0),
    ],
)
def test_a_job_that_cannot_be_asked_about_is_still_open(
    first: httpx.Response | Exception, after_s: float
) -> None:
    sendgrid, time = FakeSendGrid(pending_polls=0), Time()
    tool = Scripted(sendgrid)
    connector = opened(settings_of(**KEYS), tool, time)
    connector.deliver([message()])
    tool.first = [first]

    (outcome,) = connector.deliver([message()])

    assert (outcome.fate, outcome.after_s) == (Fate.PENDING, after_s)
    assert not outcome.got_through
    assert to_the_end(connector, [message()], time) == {"ann": DELIVERED}
    assert sendgrid.puts == [1]


def test_a_newer_message_never_overtakes_a_job_that_cannot_be_asked_about() -> None:
    sendgrid = FakeSendGrid(pending_polls=3)
    tool = Scripted(sendgrid)
    bench = Bench(lambda _: DELIVERED)
    bench.tool = opened(settings_of(**KEYS), tool, bench.time)  # type: ignore[assignment]
    bench.start()
    bench.source.put(message(seq=1, tier="low"))
    while not sendgrid.puts:
        bench.rounds(1)
    tool.first = [httpx.Response(503)] * 9
    bench.source.put(message(seq=2, tier="high"))

    while tool.first:
        bench.rounds(1)
    assert sendgrid.puts == [1]
    assert "status 503" in str(bench.deliverer.trouble)
    while bench.deliverer.in_hand:
        bench.rounds(1)

    assert sendgrid.puts == [1, 1]
    assert sendgrid.contacts["ann"]["e2_T"] == "high"
    assert bench.count("delivered") == 2
    assert bench.deliverer.trouble is None


def test_a_call_is_never_larger_than_six_megabytes() -> None:
    sendgrid = FakeSendGrid(pending_polls=0)
    fields = {"reason": "foresend_tier", "score": "foresend_score"}
    connector = opened(settings_of(**KEYS, fields=fields, batch=30_000), sendgrid)
    long = message().action
    batch = [
        message(f"c{n}", action=type(long)(long.kind, None, "x" * 1_000, "default"))
        for n in range(10_000)
    ]

    outcomes = connector.deliver(batch)

    assert len(sendgrid.puts) == 2
    assert sum(sendgrid.puts) == 10_000
    assert {one.fate for one in outcomes} == {Fate.PENDING}


def test_fields_that_are_missing_wait_for_a_person() -> None:
    sendgrid = FakeSendGrid(definitions={"foresend_score": ("e1_N", "Number")}, pending_polls=0)
    connector = opened(settings_of(**KEYS), sendgrid)

    (outcome,) = connector.deliver([message()])

    assert outcome.fate is Fate.RETRY
    assert "no custom fields foresend_action, foresend_holdout, foresend_tier" in outcome.reason
    with pytest.raises(ConfigError, match="make them there first"):
        connector.check()


def test_busy_is_waited_for_as_long_as_it_says() -> None:
    tool = Scripted(FakeSendGrid(), [httpx.Response(429, headers={"Retry-After": "9"})])
    connector = opened(settings_of(**KEYS), tool)

    (outcome,) = connector.deliver([message()])

    assert (outcome.fate, outcome.after_s) == (Fate.RETRY, 9.0)


def test_nothing_empties_a_field_of_texts_and_leaves_a_date_alone() -> None:
    sendgrid = FakeSendGrid(
        definitions={"hold_until": ("e9_D", "Date"), "why": ("e8_T", "Text")}, pending_polls=0
    )
    connector = opened(settings_of(**KEYS, fields={"until": "hold_until", "tier": "why"}), sendgrid)
    time = Time()

    to_the_end(connector, [message("ann", tier=None)], time)

    assert sendgrid.contacts["ann"] == {"e8_T": ""}
