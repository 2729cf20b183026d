"""The route in front of the framework, spoken to in ASGI over a service that is fake."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send
from structlog.testing import capture_logs

from serving.admission.keys import Doorkeeper
from serving.answers import Answer, ModelAnswer
from serving.asks import Ask
from serving.errors import DeadlineExceeded, Overloaded
from serving.http.access import AccessLog
from serving.http.route import SWALLOWED, ScoreRoute
from serving.http.series import HttpSeries

BODY = b'{"target": "t", "customers": [{"customer_id": "a"}], "reasons": 3}'
JSON = (b"content-type", b"application/json")


@dataclass
class FakeService:
    """Remembers what it was asked; answers, or fails as it was told to."""

    problem: Exception | None = None
    asks: list[Ask] = field(default_factory=list)

    async def score(self, ask: Ask) -> Answer:
        self.asks.append(ask)
        if self.problem is not None:
            raise self.problem
        model = ModelAnswer("t", "1", None, "2026-11-24T12:00:00Z")
        return Answer(ask.request_id, ask.target, "2026-11-24T12:00:00Z", model, None, [])


@dataclass
class Told:
    """What came back."""

    status: int = 0
    headers: dict[bytes, bytes] = field(default_factory=dict)
    body: bytes = b""


@dataclass
class Spoken:
    """One route, asked in ASGI."""

    service: FakeService = field(default_factory=FakeService)
    series: HttpSeries = field(default_factory=HttpSeries)
    handed_on: list[str] = field(default_factory=list)
    #: Messages of the last request that were not received.
    left: int = 0

    async def _framework(self, scope: Scope, _: Receive, __: Send) -> None:
        self.handed_on.append(scope["type"])

    def ask(
        self,
        *pieces: bytes,
        headers: tuple[tuple[bytes, bytes], ...] = (JSON,),
        gone: bool = False,
        **more: Any,
    ) -> Told:
        route = ScoreRoute(
            self._framework,
            service=self.service,
            doorkeeper=Doorkeeper(None, workers=1),
            access=AccessLog(self.series, share=0.0, slow_s=60.0),
            max_body_bytes=1000,
            monotonic=lambda: 100.0,
        )
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/v1/score",
            "headers": list(headers),
            **more,
        }
        messages: list[Message] = [
            {"type": "http.request", "body": piece, "more_body": gone or place < len(pieces)}
            for place, piece in enumerate(pieces, start=1)
        ]
        messages.append({"type": "http.disconnect"})
        coming = iter(messages)
        told = Told()

        async def receive() -> Message:
            return next(coming)

        async def send(message: Message) -> None:
            told.status = message.get("status", told.status)
            told.headers |= dict(message.get("headers", []))
            told.body += message.get("body", b"")

        asyncio.run(route(scope, receive, send))
        self.left = len(list(coming))
        return told

    def counted(self) -> list[tuple[str, ...]]:
        answers, _ = self.series.collect()
        return [tuple(sample.labels.values()) for sample in answers.samples]


@pytest.fixture
def spoken() -> Spoken:
    return Spoken()


def test_an_answer_is_complete_and_says_what_every_answer_says(spoken: Spoken) -> None:
    told = spoken.ask(BODY, headers=(JSON, (b"x-request-id", b"r-1")))

    assert told.status == 200
    assert told.headers == {
        b"content-type": b"application/json",
        b"content-length": str(len(told.body)).encode(),
        b"x-request-id": b"r-1",
        b"x-content-type-options": b"nosniff",
        b"cache-control": b"no-store",
    }
    assert json.loads(told.body)["request_id"] == "r-1"
    assert spoken.counted() == [("/v1/score", "200")]


def test_what_is_asked_reaches_the_service_with_its_deadline(spoken: Spoken) -> None:
    spoken.ask(BODY[:20], BODY[20:], headers=(JSON, (b"x-deadline-ms", b"250")))
    spoken.ask(BODY)

    within, whenever = spoken.service.asks
    assert (within.target, within.customers[0].customer_id, within.reasons) == ("t", "a", 3)
    assert (within.deadline, whenever.deadline) == (100.25, None)


def test_a_bad_deadline_is_a_400_with_the_value(spoken: Spoken) -> None:
    told = spoken.ask(BODY, headers=(JSON, (b"x-deadline-ms", b"soon")))

    assert told.status == 400
    assert json.loads(told.body)["type"] == "urn:foresend:problem:bad-header"
    assert "'soon'" in json.loads(told.body)["detail"]
    assert spoken.service.asks == []


@pytest.mark.parametrize(
    ("problem", "status", "retry"),
    [
        (DeadlineExceeded("late"), 504, None),
        (Overloaded("full", headers={"Retry-After": "1"}), 429, b"1"),
    ],
)
def test_a_problem_of_the_service_is_told_with_its_headers(
    spoken: Spoken, problem: Exception, status: int, retry: bytes | None
) -> None:
    spoken.service.problem = problem
    with capture_logs() as lines:
        told = spoken.ask(BODY)

    assert (told.status, told.headers.get(b"retry-after")) == (status, retry)
    assert told.headers[b"content-type"] == b"application/problem+json"
    assert told.headers[b"x-content-type-options"] == b"nosniff"
    assert told.headers[b"x-request-id"].decode() == json.loads(told.body)["request_id"]
    assert [(line["event"], line["status"]) for line in lines] == [("request_answered", status)]


@pytest.mark.parametrize(
    "pieces", [(b" " * 1001,), (b" " * 600, b" " * 600, b""), (b" " * 600,) * 50]
)
def test_too_many_bytes_are_refused_once_all_have_come(
    spoken: Spoken, pieces: tuple[bytes, ...]
) -> None:
    told = spoken.ask(*pieces)

    assert told.status == 413
    assert told.headers[b"connection"] == b"close"
    assert spoken.left == 1


@pytest.mark.parametrize(
    "announced",
    [
        ((b"content-length", str(1001 + SWALLOWED).encode()),),
        ((b"content-length", b"1001"), (b"expect", b"100-continue")),
    ],
)
def test_far_too_many_bytes_are_refused_before_they_come(
    spoken: Spoken, announced: tuple[tuple[bytes, bytes], ...]
) -> None:
    # Nothing can be received: there is no message but the end of the connection.
    told = spoken.ask(headers=(JSON, *announced))

    assert told.status == 413


def test_a_body_without_end_is_not_read_to_its_end(spoken: Spoken) -> None:
    told = spoken.ask(*[b" " * (1 << 20)] * 12)

    assert told.status == 413
    assert spoken.left == 4


def test_a_caller_who_goes_before_the_end_gets_nothing_and_is_counted(spoken: Spoken) -> None:
    told = spoken.ask(BODY[:20], gone=True)

    assert told == Told()
    assert spoken.counted() == [("/v1/score", "499")]


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT"])
def test_another_method_is_told_which_is_right(spoken: Spoken, method: str) -> None:
    told = spoken.ask(method=method)

    assert (told.status, told.headers[b"allow"]) == (405, b"POST")


@pytest.mark.parametrize("more", [{"path": "/v1/audience"}, {"type": "lifespan"}])
def test_everything_else_is_handed_on(spoken: Spoken, more: dict[str, Any]) -> None:
    told = spoken.ask(BODY, **more)

    assert spoken.handed_on == [more.get("type", "http")]
    assert told == Told()
    assert spoken.counted() == []


def test_what_nobody_foresaw_is_counted_and_goes_on_to_the_framework(spoken: Spoken) -> None:
    spoken.service.problem = ZeroDivisionError("of ours")
    with pytest.raises(ZeroDivisionError):
        spoken.ask(BODY)

    assert spoken.counted() == [("/v1/score", "500")]
