"""Whatever is sent: a status that says something, and a mapper that goes on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feature_repo.ingest.drift.ledger import Ledger
from feature_repo.ingest.providers.registry import PROVIDERS
from feature_repo.ingest.settings import IngestSettings
from feature_repo.ingest.webhook.catalog import Catalog
from feature_repo.ingest.webhooks import Webhooks
from feature_repo.settings import Settings
from tests.unit.feature_repo.ingest.edge.conftest import AT, Ingest

PAYLOADS = Path(__file__).parents[4] / "payloads"
ANSWERS = {200, 202, 400, 401, 403, 408, 413, 415}

odd_values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**25), 10**25),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["", "\ud800", "a@b", "2026-13-45T99:99:99Z", "1e400", "0", "-1", "\x00"]),
    st.lists(st.integers(), max_size=3),
    st.dictionaries(st.text(max_size=5), st.integers(), max_size=3),
)

headers = st.dictionaries(
    st.sampled_from(
        [
            "Content-Type",
            "Content-Encoding",
            "Authorization",
            "X-Mailgun-Signature",
            "X-CIO-Signature",
            "X-CIO-Timestamp",
            "Klaviyo-Timestamp",
            "Klaviyo-Signature",
            "X-Twilio-Email-Event-Webhook-Signature",
            "X-Twilio-Email-Event-Webhook-Timestamp",
            "X-Amz-Sns-Message-Type",
            "X-Mandrill-Signature",
            "Webhook-Signature",
            "X-Signature",
        ]
    ),
    st.one_of(
        st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40),
        st.sampled_from(["gzip", "deflate", "application/x-www-form-urlencoded", "Basic x", "é"]),
    ),
    max_size=4,
)


def samples(provider: str) -> list[Any]:
    found = []
    for path in sorted((PAYLOADS / provider).glob("*.json")):
        found.append(json.loads(path.read_text()))
    return found or [{"event": "open", "email": "a@example.org", "timestamp": 1}]


@st.composite
def mutated(draw: st.DrawFn, provider: str) -> Any:
    """A real payload with some of its parts gone, odd or doubled."""
    value = json.loads(json.dumps(draw(st.sampled_from(samples(provider)))))
    for _ in range(draw(st.integers(0, 4))):
        spot, key = _some_place(draw, value)
        if spot is None:
            return draw(odd_values)
        action = draw(st.sampled_from(["set", "drop", "wrap", "deep"]))
        if action == "set":
            spot[key] = draw(odd_values)
        elif action == "drop":
            del spot[key]
        elif action == "wrap":
            spot[key] = [spot[key], spot[key]]
        else:
            for _ in range(1200):
                spot[key] = [spot[key]]
    return value


def _some_place(draw: st.DrawFn, value: Any) -> tuple[Any, Any]:
    for _ in range(draw(st.integers(1, 6))):
        keys = _keys(value)
        if not keys:
            return None, None
        spot, key = value, draw(st.sampled_from(keys))
        if not _keys(spot[key]):
            return spot, key
        value = spot[key]
    return spot, key


def _keys(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return sorted(value)
    return list(range(len(value))) if isinstance(value, list) else []


def written(value: Any) -> bytes:
    try:
        return json.dumps(value).encode("utf-8", "surrogatepass")
    except RecursionError:
        return b"[" * 5000 + b"]" * 5000


@pytest.fixture(scope="module")
def trusting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ingest]:
    """Lets everything in, so that hostile bodies reach every part of the way."""
    yield from _opened(tmp_path_factory.mktemp("trusting"), insecure_local=True)


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ingest]:
    """Has a secret for every provider."""
    secrets = {
        name: "https://x/y" if name.endswith("url") else "secret"
        for name, field in IngestSettings.model_fields.items()
        if "SecretStr" in str(field.annotation) and name != "secrets"
    }
    folder = tmp_path_factory.mktemp("strict")
    yield from _opened(folder, ses_topic_arns="arn:aws:sns:x", **secrets)


def _opened(folder: Path, **changes: Any) -> Iterator[Ingest]:
    limits = IngestSettings(min_free_bytes=0, max_body_bytes=1_000_000, **changes)
    ledger = Ledger(Settings(home=folder))
    inbound = Webhooks(limits, Catalog.load(), ledger, clock=lambda: AT)
    ingest = Ingest(folder, limits, inbound=inbound)
    yield ingest
    ingest.close()
    ledger.close()


hostile = settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.mark.parametrize("provider", sorted(PROVIDERS))
@hostile
@given(data=st.data())
def test_a_hostile_payload_is_answered_and_mapped_or_kept(
    trusting: Ingest, provider: str, data: st.DataObject
) -> None:
    body = written(data.draw(mutated(provider)))
    sent = data.draw(headers)
    if data.draw(st.booleans()):
        body = urlencode({"mandrill_events": body}).encode()
        sent["Content-Type"] = "application/x-www-form-urlencoded"

    answer = trusting.post(provider, body, headers=_ascii(sent))
    trusting.map_all()

    assert answer.status_code in ANSWERS
    assert trusting.mapper.backlog_bytes() == 0
    assert [one for one in trusting.quarantine.kept if one.reason == "mapping_broke"] == []


@pytest.mark.parametrize("provider", sorted(PROVIDERS))
@hostile
@given(body=st.binary(max_size=300), sent=headers)
def test_noise_is_refused(strict: Ingest, provider: str, body: bytes, sent: dict[str, str]) -> None:
    answer = strict.post(provider, body, headers=_ascii(sent))

    assert answer.status_code in ANSWERS - {200, 202}
    assert answer.headers["content-type"] == "application/problem+json"
    assert strict.landed() == []


def _ascii(sent: dict[str, str]) -> dict[str, Any]:
    return {name: value.encode("utf-8") for name, value in sent.items()}
