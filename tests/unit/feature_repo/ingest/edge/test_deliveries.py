"""The HTTP contract of a delivery."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from feature_repo.api_keys import KeyFile, Scope
from tests.unit.feature_repo.ingest.edge.conftest import AT, SIGNED, Ingest

MakeIngest = Callable[..., Ingest]
BODY = b'["open-1", "open-2"]'


def kind(answer: Any) -> str:
    document = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert document["status"] == answer.status_code
    assert document["request_id"] == answer.headers["x-request-id"]
    return str(document["type"]).rpartition(":")[2]


def test_a_delivery_is_on_disk_when_it_is_answered(ingest: Ingest) -> None:
    answer = ingest.post("sendgrid", BODY, headers={**SIGNED, "Authorization": "Basic x"})

    assert answer.status_code == 200
    assert answer.json() == {"accepted": True}
    ((_, record),) = ingest.store.records()
    assert (record.provider, record.body, record.received_time) == ("sendgrid", BODY, AT)
    assert ("x-signature", "good") in record.headers
    assert "authorization" not in dict(record.headers)


def test_a_bad_signature_is_401_and_nothing_is_kept(ingest: Ingest) -> None:
    answer = ingest.post("sendgrid", BODY, headers={"X-Signature": "bad"})

    assert answer.status_code == 401
    assert kind(answer) == "not-authentic"
    assert ingest.landed() == []


def test_an_unknown_provider_is_404_and_the_known_ones_are_named(ingest: Ingest) -> None:
    answer = ingest.post("nobody", BODY)

    assert answer.status_code == 404
    assert kind(answer) == "unknown-provider"
    assert "canonical, sendgrid, ses" in answer.json()["detail"]


def test_a_body_that_nobody_can_read_is_400(ingest: Ingest) -> None:
    answer = ingest.post("sendgrid", b"[")

    assert answer.status_code == 400
    assert kind(answer) == "unreadable-body"


@pytest.mark.parametrize(
    ("encoding", "content"),
    [
        ("gzip", gzip.compress(BODY)),
        ("x-gzip", gzip.compress(BODY)),
        ("GZIP", gzip.compress(BODY[:5]) + gzip.compress(BODY[5:])),  # two members
        ("deflate", zlib.compress(BODY)),
        ("deflate", zlib.compress(BODY, wbits=-15)),  # without zlib's header
        ("identity", BODY),
    ],
)
def test_a_compressed_body_is_kept_as_it_was_before(
    ingest: Ingest, encoding: str, content: bytes
) -> None:
    headers = {**SIGNED, "Content-Encoding": encoding}

    assert ingest.post("sendgrid", content, headers=headers).status_code == 200
    assert ingest.landed() == [BODY]


@pytest.mark.parametrize("cut", range(len(gzip.compress(BODY))))
def test_a_truncated_gzip_body_is_400_or_empty(ingest: Ingest, cut: int) -> None:
    headers = {**SIGNED, "Content-Encoding": "gzip"}

    assert ingest.post("sendgrid", gzip.compress(BODY)[:cut], headers=headers).status_code == 400


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "\x00"])
def test_an_encoding_that_is_not_understood_is_415(ingest: Ingest, encoding: str) -> None:
    answer = ingest.post("sendgrid", BODY, headers={**SIGNED, "Content-Encoding": encoding})

    assert answer.status_code == 415
    assert kind(answer) == "unsupported-encoding"
    assert answer.headers["accept-encoding"] == "gzip, deflate"


def test_a_body_of_50_mb_is_413_without_being_read(make_ingest: MakeIngest) -> None:
    answer = make_ingest().post("sendgrid", b"x" * 50_000_000)

    assert answer.status_code == 413
    assert kind(answer) == "body-too-large"
    assert answer.headers["connection"] == "close"


def test_a_body_of_unannounced_size_is_refused_once_it_is_too_large(ingest: Ingest) -> None:
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        while True:
            read += 10_000
            yield b"x" * 10_000

    assert ingest.post("sendgrid", endless()).status_code == 413
    assert read <= 200_000


def test_a_chunked_body_without_a_length_is_taken(ingest: Ingest) -> None:
    async def parts() -> AsyncIterator[bytes]:
        yield BODY[:7]
        yield BODY[7:]

    assert ingest.post("sendgrid", parts()).status_code == 200
    assert ingest.landed() == [BODY]


@pytest.mark.parametrize("size", [100_001, 30_000_000])
def test_a_compressed_body_that_grows_too_large_is_413(ingest: Ingest, size: int) -> None:
    bomb = gzip.compress(b" " * size)
    assert len(bomb) < 100_000

    answer = ingest.post("sendgrid", bomb, headers={**SIGNED, "Content-Encoding": "gzip"})

    assert answer.status_code == 413


def test_a_bomb_is_told_by_its_ratio_below_the_size_limit(make_ingest: MakeIngest) -> None:
    ingest = make_ingest(max_body_bytes=20_000_000, max_expansion=100)
    bomb = gzip.compress(b" " * 10_000_000)
    fine = gzip.compress(orjson.dumps(["a" * 50] * 15_000))

    headers = {**SIGNED, "Content-Encoding": "gzip"}
    assert ingest.post("sendgrid", bomb, headers=headers).status_code == 413
    assert ingest.post("sendgrid", fine, headers=headers).status_code == 200


def test_a_large_body_is_taken(make_ingest: MakeIngest) -> None:
    body = orjson.dumps(["w" * 100] * 50_000)

    ingest = make_ingest()

    assert ingest.post("sendgrid", body).status_code == 200
    assert ingest.landed() == [body]


@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_a_provider_that_looks_whether_anybody_is_there_is_answered(
    ingest: Ingest, method: str
) -> None:
    assert ingest.ask(method, "/ingest/sendgrid").status_code == 200
    assert ingest.ask(method, "/ingest/nobody").status_code == 404


def test_other_methods_are_405(ingest: Ingest) -> None:
    answer = ingest.ask("PUT", "/ingest/sendgrid", content=BODY, headers=SIGNED)

    assert answer.status_code == 405
    assert "POST" in answer.headers["allow"]


def test_canonical_events_need_a_key_with_the_scope(
    make_ingest: MakeIngest, tmp_path: Path
) -> None:
    keys = KeyFile(tmp_path / "keys.json")
    _, secret = keys.add("shop", (Scope.INGEST,), clock=lambda: AT)
    _, other = keys.add("mailer", (Scope.SCORE,), clock=lambda: AT)
    ingest = make_ingest(keys=keys)

    def status(headers: dict[str, str]) -> int:
        return ingest.post("canonical", BODY, headers=headers).status_code

    assert status({}) == 401
    assert status({"Authorization": "Bearer fsk_nobody"}) == 401
    assert status({"Authorization": f"Bearer {other}"}) == 403
    assert ingest.landed() == []
    assert status({"Authorization": f"Bearer {secret}"}) == 202
    assert status({"X-API-Key": secret}) == 202
    keys.revoke("shop")
    assert status({"X-API-Key": secret}) == 401


def test_a_damaged_key_file_is_a_503(make_ingest: MakeIngest, tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_text("{")
    ingest = make_ingest(keys=KeyFile(tmp_path / "keys.json"))

    answer = ingest.post("canonical", BODY, headers={"X-API-Key": "fsk_x"})

    assert answer.status_code == 503


def test_what_cannot_be_verified_now_is_to_be_sent_again(ingest: Ingest) -> None:
    for header in ("X-Unverifiable", "X-Broken"):
        answer = ingest.post("sendgrid", BODY, headers={**SIGNED, header: "yes"})

        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "10"
    assert ingest.landed() == []


def test_a_request_id_is_kept_or_given(ingest: Ingest) -> None:
    named = ingest.post("sendgrid", BODY, headers={**SIGNED, "X-Request-Id": "mine-1"})
    given = ingest.post("sendgrid", BODY, headers={**SIGNED, "X-Request-Id": "bad id"})

    assert named.headers["x-request-id"] == "mine-1"
    assert len(given.headers["x-request-id"]) == 32


def test_a_body_that_trickles_is_given_up(make_ingest: MakeIngest) -> None:
    async def trickle() -> AsyncIterator[bytes]:
        yield b"["
        await asyncio.sleep(3600)

    answer = make_ingest(body_timeout_s=0.05).post("sendgrid", trickle())

    assert answer.status_code == 408
    assert kind(answer) == "body-too-slow"


def test_metrics_know_providers_and_statuses_and_no_one_else(ingest: Ingest) -> None:
    ingest.post("sendgrid", BODY)
    ingest.post("ann@example.org", BODY)
    ingest.map_all()

    text = ingest.ask("GET", "/metrics").text
    assert 'foresend_ingest_requests_total{provider="sendgrid",status="200"} 1.0' in text
    assert 'foresend_ingest_requests_total{provider="unknown",status="404"} 1.0' in text
    assert 'foresend_ingest_events_total{provider="sendgrid",type="opened"} 2.0' in text
    assert "example.org" not in text


def test_the_document_tells_of_the_delivery_route(ingest: Ingest) -> None:
    document = ingest.ask("GET", "/openapi.json").json()

    operation = document["paths"]["/ingest/{provider}"]["post"]
    assert operation["parameters"][0]["schema"]["enum"] == ["canonical", "sendgrid", "ses"]
    assert {"200", "202", "401", "413", "503"} <= set(operation["responses"])


def test_paths_that_are_not_answered_are_problems(ingest: Ingest) -> None:
    answer = ingest.ask("GET", "/nowhere")

    assert answer.status_code == 404
    assert kind(answer) == "http"


def test_a_sender_that_goes_away_leaves_nothing(ingest: Ingest) -> None:
    messages = [
        {"type": "http.request", "body": b"[", "more_body": True},
        {"type": "http.disconnect"},
    ]
    sent: list[Any] = []

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/ingest/sendgrid", "headers": []}
    asyncio.run(ingest.app(scope, receive, send))

    assert sent == []
    assert ingest.landed() == []
    assert ingest.app.edge.admission.requests == ingest.app.edge.admission.bytes == 0
    assert 'provider="sendgrid",status="499"' in ingest.ask("GET", "/metrics").text
