"""Whatever is sent: an event, a reason, or one of the declared refusals; never a crash."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlencode

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feature_repo.event import Event
from feature_repo.ingest import parse
from feature_repo.ingest.providers.registry import PROVIDERS
from feature_repo.ingest.settings import IngestSettings
from feature_repo.ingest.webhook.errors import AuthenticationFailed, UnreadableBody
from feature_repo.ingest.webhook.parsing import verify
from feature_repo.stream.envelope import pack, unpack
from tests.unit.feature_repo.ingest.webhook.payloads import fixtures
from tests.unit.feature_repo.ingest.webhook.signing import SCHEMES

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
OPEN = IngestSettings(insecure_local=True)
FIXTURES = fixtures()
ODD = (
    *(None, True, False, 0, -1, 10**30, 2**63, 1e308, -0.5, "", " ", "abc", "\ud800", "\x00"),
    *("9" * 5000, "1e999", "NaN", [], {}, [[]], [None], {"": None}, {"a": {"b": []}}, "é" * 9000),
    *("jane@gmail.com", "2026-11-24T04:00:00", "0001-01-01T00:00:00+14:00", float("inf")),
    float("nan"),
)
KEYS = ("event", "timestamp", "event-data", "type", "msys", "Message", "data", "stat", "userId")

scalars = st.sampled_from(ODD) | st.text(max_size=20) | st.integers() | st.floats()
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=8), inner, max_size=6)
    ),
    max_leaves=20,
)


def outcomes(provider: str, body: bytes) -> None:
    """Parse, and check what holds for every outcome."""
    try:
        found = parse(provider, body, {}, OPEN, received_time=NOW, raw_ref="s:0")
    except UnreadableBody:
        return
    for outcome in found:
        if isinstance(outcome, Event):
            assert outcome.customer_id
            assert outcome.event_time.utcoffset() is not None
        else:
            assert outcome.reason
            assert "jane@" not in outcome.detail
    events = [outcome for outcome in found if isinstance(outcome, Event)]
    for body in pack(events):
        assert unpack(body)


@pytest.mark.parametrize("provider", sorted(PROVIDERS))
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(content=values)
def test_any_json_is_survived(provider: str, content: Any) -> None:
    outcomes(provider, _dumped(content))


@pytest.mark.parametrize("provider", sorted(PROVIDERS))
@settings(max_examples=20, deadline=None)
@given(body=st.binary(max_size=200))
def test_any_bytes_are_survived(provider: str, body: bytes) -> None:
    outcomes(provider, body)


@pytest.mark.parametrize("fixture", FIXTURES, ids=lambda f: f"{f.provider}-{f.name}")
def test_a_delivery_with_any_part_exchanged_is_survived(fixture: Any) -> None:
    rng = random.Random(f"{fixture.provider}-{fixture.name}")
    is_form = fixture.provider == "mandrill"
    source = json.loads(_unwrapped(fixture.body)) if is_form else json.loads(fixture.body)
    for _ in range(12):
        mutated = json.loads(json.dumps(source))
        for _ in range(rng.randint(1, 3)):
            mutated = _mutated(mutated, rng)
        if fixture.provider == "ses" and isinstance(mutated, dict) and rng.random() < 0.7:
            mutated["Message"] = _message_mutated(mutated.get("Message"), rng)
        body = _dumped(mutated)
        outcomes(fixture.provider, _wrapped(body) if is_form else body)


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda s: s.provider)
@settings(max_examples=12, deadline=None)
@given(content=values, raw=st.binary(max_size=50), header=st.text(max_size=30))
def test_verification_refuses_any_garbage_by_name(
    scheme: Any, content: Any, raw: bytes, header: str
) -> None:
    names = [*scheme.sign(NOW).headers, "Authorization"]
    configured = IngestSettings(**scheme.settings)
    for body in (_dumped(content), raw):
        with pytest.raises((AuthenticationFailed, UnreadableBody)):
            verify(scheme.provider, body, dict.fromkeys(names, header), configured, now=NOW)


def test_one_event_that_is_nested_without_end_costs_only_itself() -> None:
    good = b'{"event":"open","timestamp":1795492800,"email":"jane@gmail.com"}'
    deep = b'{"event":"open","x":' + b"[" * 5000 + b"]" * 5000 + b"}"

    found = parse("sendgrid", b"[%b,%b, %b]" % (good, deep, good), {}, OPEN, received_time=NOW)

    assert [isinstance(outcome, Event) for outcome in found] == [True, False, True]
    assert found[1].reason == "unreadable_event"
    assert found[1].payload == deep


@pytest.mark.parametrize(
    "body", [b"[" * 1_000_000, b'{"a":' * 5000 + b"1" + b"}" * 5000, b"[" * 5000 + b"]" * 4999]
)
def test_nesting_that_is_no_list_of_events_is_refused(body: bytes) -> None:
    with pytest.raises(UnreadableBody):
        parse("sendgrid", body, {}, OPEN)


@pytest.mark.parametrize("body", [b"", b"{", b"nothing", b"17", b'"text"', b"null", b"true"])
@pytest.mark.parametrize("provider", sorted(PROVIDERS))
def test_a_body_that_can_never_be_read_is_refused(provider: str, body: bytes) -> None:
    with pytest.raises(UnreadableBody):
        parse(provider, body, {}, OPEN)
    with pytest.raises(UnreadableBody):
        verify(provider, body, {}, OPEN, now=NOW)


def test_what_json_forbids_is_mended_without_losing_the_event() -> None:
    body = (
        b'[{"event":"open","timestamp":1795492800,"email":"j@x.de","x":NaN,"useragent":"\\ud800",'
        b'"ip":"\xff","customer_id":"c\\udfff1","n":' + b"1" * 5000 + b"}]"
    )

    (event,) = parse("sendgrid", body, {}, OPEN, received_time=NOW)

    assert isinstance(event, Event)
    assert (event.user_agent, event.ip, event.customer_id) == ("\ufffd", "\ufffd", "c\ufffd1")


def test_of_a_key_that_is_there_twice_the_last_counts() -> None:
    body = b'{"event":"click","event":"open","timestamp":1795492800,"email":"j@x.de"}'

    (event,) = parse("sendgrid", body, {}, OPEN, received_time=NOW)

    assert event.provider_event == "open"


def _dumped(content: Any) -> bytes:
    return json.dumps(content).encode()


def _unwrapped(body: bytes) -> bytes:
    return parse_qs(body.decode(), keep_blank_values=True)["mandrill_events"][0].encode()


def _wrapped(body: bytes) -> bytes:
    return urlencode({"mandrill_events": body.decode()}).encode()


def _message_mutated(message: Any, rng: random.Random) -> Any:
    try:
        return _dumped(_mutated(orjson.loads(message), rng)).decode()
    except (orjson.JSONDecodeError, TypeError):
        return message


def _mutated(value: Any, rng: random.Random) -> Any:
    """The value with one part of it exchanged, renamed or gone."""
    if rng.random() < 0.08 or not isinstance(value, dict | list) or not value:
        return rng.choice(ODD)
    if isinstance(value, list):
        place = rng.randrange(len(value))
        return [*value[:place], _mutated(value[place], rng), *value[place + 1 :]]
    key = rng.choice(sorted(value))
    chance = rng.random()
    if chance < 0.1:
        return {k: v for k, v in value.items() if k != key}
    if chance < 0.2:
        return {(k + "_v2" if k == key else k): v for k, v in value.items()}
    return {**value, key: _mutated(value[key], rng)}
