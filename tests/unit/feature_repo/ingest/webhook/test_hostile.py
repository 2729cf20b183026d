"""Whatever is sent: an event, a reason, or one of the declared refusals; never a crash."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import Any

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
from tests.unit.feature_repo.ingest.webhook.mutation import ODD, dumped, hostile
from tests.unit.feature_repo.ingest.webhook.payloads import fixtures
from tests.unit.feature_repo.ingest.webhook.signing import SCHEMES

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
OPEN = IngestSettings(insecure_local=True)
FIXTURES = fixtures()
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
    outcomes(provider, dumped(content))


@pytest.mark.parametrize("provider", sorted(PROVIDERS))
@settings(max_examples=20, deadline=None)
@given(body=st.binary(max_size=200))
def test_any_bytes_are_survived(provider: str, body: bytes) -> None:
    outcomes(provider, body)


@pytest.mark.parametrize("fixture", FIXTURES, ids=lambda f: f"{f.provider}-{f.name}")
def test_a_delivery_with_any_part_exchanged_is_survived(fixture: Any) -> None:
    rng = random.Random(f"{fixture.provider}-{fixture.name}")
    for _ in range(12):
        outcomes(fixture.provider, hostile(fixture.provider, fixture.body, rng))


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda s: s.provider)
@settings(max_examples=12, deadline=None)
@given(content=values, raw=st.binary(max_size=50), header=st.text(max_size=30))
def test_verification_refuses_any_garbage_by_name(
    scheme: Any, content: Any, raw: bytes, header: str
) -> None:
    names = [*scheme.sign(NOW).headers, "Authorization"]
    configured = IngestSettings(**scheme.settings)
    for body in (dumped(content), raw):
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
