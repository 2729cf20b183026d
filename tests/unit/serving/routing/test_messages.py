"""Requests are checked one by one; an answer's identity depends on what it says alone."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.routing import messages
from serving.routing.decide import Decision
from serving.routing.memory import Memory
from serving.routing.message import RESULTS, Action, ActionKind
from serving.routing.messages import BadRequest
from serving.routing.scorer import Verdict

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
TARGETS = ("buy",)
GOOD = {"id": "r1", "target": "buy", "customer_id": "ann"}


def request(**changes: object) -> bytes:
    return json.dumps({**GOOD, **changes}).encode()


def test_a_request_needs_three_things_and_may_say_more() -> None:
    asked = messages.read_request(
        request(send_at="2026-03-02T10:00:00+01:00", utc_offset_minutes=60), TARGETS
    )

    assert (asked.id, asked.customer_id, asked.campaign_id) == ("r1", "ann", None)
    assert messages.epoch_of(str(asked.send_at)) == 1772442000.0


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "truncated"),
        (b"{", "truncated"),
        (b"[]", "Expected `object`"),
        (b"\xff", "malformed"),
        (b"[" * 100_000, "malformed|depth|recurs|Expected"),
        (b'{"id": "r1"}', "missing required field"),
        (request(colour="red"), "unknown field; a request has id, target,"),
        (request(**{"ann@example.com": 1}), "unknown field; a request has id, target,"),
        (b'{"id":"\xff","target":"buy","customer_id":"x"}', "text that is not UTF-8"),
        (b'{"\xff":"ann"}', "text that is not UTF-8"),
        (request(target="sell"), "target is not one of buy"),
        (request(customer_id=""), "customer_id is not of 1 to 256"),
        (request(customer_id="a" * 257), "customer_id is not of 1 to 256"),
        (request(customer_id="a\nb"), "customer_id is not of 1 to 256"),
        (request(id=7), "Expected `str`"),
        (request(send_at="2026-03-02T10:00:00"), "send_at is not an ISO 8601 time"),
        (request(send_at="soon"), "send_at is not an ISO 8601 time"),
        (request(send_at="0001-01-01T00:00:00+14:00"), "send_at is not an ISO 8601 time"),
        (request(expires_at="x"), "expires_at is not an ISO 8601 time"),
        (request(utc_offset_minutes=5_000), "utc_offset_minutes is not from -840 to 840"),
        (request(utc_offset_minutes=True), "Expected `int"),
    ],
)
def test_what_is_no_request_is_told_without_its_values(body: bytes, said: str) -> None:
    with pytest.raises(BadRequest, match=said) as refused:
        messages.read_request(body, TARGETS)

    assert "ann" not in str(refused.value)


@given(st.binary(max_size=200))
def test_no_bytes_do_more_than_be_refused(body: bytes) -> None:
    with pytest.raises(BadRequest) as refused:
        messages.read_request(body, TARGETS)

    assert len(str(refused.value)) <= 400


def test_the_same_answer_has_the_same_id_and_another_has_another() -> None:
    verdict = Verdict(score=0.4, tier="low", model_version="3", as_of="2026-03-01T00:00:00Z")
    first = messages.score_id("buy", "ann", verdict, 7)

    assert first == messages.score_id("buy", "ann", verdict, 7)
    assert first != messages.score_id("buy", "ann", verdict, 8)
    assert first != messages.score_id("buy", "bob", verdict, 7)
    newer = Verdict(score=0.4, tier="low", model_version="4", as_of="2026-03-01T00:00:00Z")
    assert first != messages.score_id("buy", "ann", newer, 7)


def test_a_message_comes_back_as_it_went_and_strangers_fields_are_left_out() -> None:
    verdict = Verdict(score=0.4, tier="low", model_version="3")
    action = Action(kind=ActionKind.SEND, until=None, reason="no rule", rule="default")
    message = messages.routed(
        *(RESULTS, "buy", "ann", verdict, Decision(action, holdout=False)),
        seq=7,
        now=NOW,
        valid=timedelta(hours=6),
    )

    body = messages.pack(message)

    assert messages.unpack(body) == message
    assert messages.unpack(json.dumps({**json.loads(body), "new": 1}).encode()) == message
    assert message.expires_at == "2026-03-02T15:30:00Z"


@given(st.integers(0, 2**45), st.integers(0, 4_000_000_000))
def test_seq_rises_also_after_everything_was_forgotten(held: int, seconds: int) -> None:
    at = datetime.fromtimestamp(seconds, UTC)

    seq = Memory(seq=held).next_seq(at)

    assert seq > held
    assert Memory().next_seq(at + timedelta(seconds=1)) > Memory().next_seq(at)
