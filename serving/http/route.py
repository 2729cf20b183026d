"""`POST /v1/score`, answered in front of the framework (docs/adr/0018-hot-route.md).

An ASGI middleware that keeps one path to itself and hands on all others. What goes wrong is a
problem document, as on every route; what nobody foresaw goes on to the framework's own handling.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, Protocol

import msgspec
import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from feature_repo import api_keys
from serving.admission.keys import Doorkeeper
from serving.answers import Answer
from serving.asks import Ask
from serving.errors import BodyTooLarge, OtherProblem, Problem
from serving.http.access import AccessLog
from serving.http.asked import read_ask
from serving.http.heads import (
    SECURITY,
    Head,
    announced_bytes,
    content_type,
    deadline_s,
    head_of,
    request_id,
    secret,
)
from serving.http.tracing import RequestSpan, Tracing
from serving.parsing import check_content_type

PATH: Final = "/v1/score"

CALLER_GONE: Final = 499
"""The status under which a request is counted whose caller did not wait for an answer."""

SWALLOWED: Final = 8 << 20
"""Bytes over the limit that are read and thrown away: a connection that is closed before its sender
has ended is reset, and the refusal may be lost with it."""

_ANSWERED: Final = ((b"content-type", b"application/json"), *SECURITY)
_REFUSED: Final = ((b"content-type", b"application/problem+json"), *SECURITY)
_ENCODER: Final = msgspec.json.Encoder()


class Scores(Protocol):
    """What scores: a ScoringService."""

    async def score(self, ask: Ask) -> Answer:
        """Scores in the order of the request's customers.

        Raises:
            Problem: they cannot be given.
        """


class CallerGone(Exception):
    """The connection was closed before the request had come completely."""


class ScoreRoute:
    """The route, around the application that has all the others."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        service: Scores,
        doorkeeper: Doorkeeper,
        access: AccessLog,
        max_body_bytes: int,
        monotonic: Callable[[], float] = time.monotonic,
        tracing: Tracing | None = None,
    ) -> None:
        self._app = app
        self._service = service
        self._doorkeeper = doorkeeper
        self._access = access
        self._max_body_bytes = max_body_bytes
        self._monotonic = monotonic
        self._tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request for scores; anything else is handed on."""
        if scope["type"] != "http" or scope["path"] != PATH:
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        head = head_of(scope["headers"])
        asked_as = request_id(head)
        # For whoever answers when nobody foresaw what happened.
        scope.setdefault("state", {})["request_id"] = asked_as
        tracing = self._tracing
        span = None if tracing is None else tracing.begin(PATH, head, asked_as)
        status = 500
        try:
            try:
                body = await self._answer(scope["method"], head, asked_as, receive)
            except Problem as problem:
                status = await _refuse(problem, asked_as, send)
            except CallerGone:
                status = CALLER_GONE
            else:
                await _send(send, 200, body, asked_as, _ANSWERED)
                status = 200
        finally:
            self._told(status, time.perf_counter() - started, asked_as, span)

    async def _answer(self, method: str, head: Head, asked_as: str, receive: Receive) -> bytes:
        if method != "POST":
            raise _not_allowed(method)
        self._doorkeeper.admit(secret(head), api_keys.Scope.SCORE)
        check_content_type(content_type(head))
        within_s = deadline_s(head)
        deadline = None if within_s is None else self._monotonic() + within_s
        body = await self._read(head, receive)
        ask = read_ask(body, request_id=asked_as, deadline=deadline)
        return _ENCODER.encode(await self._service.score(ask))

    async def _read(self, head: Head, receive: Receive) -> bytes:
        """The whole body, no larger than it may be."""
        over = announced_bytes(head) - self._max_body_bytes
        # Who expects a word before sending (100 Continue) gets this one.
        if over > SWALLOWED or (over > 0 and b"expect" in head):
            raise self._too_large()
        message = await receive()
        body = _piece(message)
        if message.get("more_body", False):
            body = await self._read_on(body, receive)
        if len(body) > self._max_body_bytes:
            raise self._too_large()
        return body

    async def _read_on(self, first: bytes, receive: Receive) -> bytes:
        body = bytearray(first)
        seen, has_more = len(first), True
        while has_more and seen <= self._max_body_bytes + SWALLOWED:
            message = await receive()
            piece = _piece(message)
            seen += len(piece)
            if len(body) <= self._max_body_bytes:
                body += piece
            has_more = message.get("more_body", False)
        return bytes(body)

    def _too_large(self) -> BodyTooLarge:
        detail = f"The body has more than {self._max_body_bytes} bytes. "
        detail += "Send fewer customers at a time."
        # Not all of the body may have been read, so the connection cannot be used again.
        return BodyTooLarge(detail, headers={"Connection": "close"})

    def _told(self, status: int, seconds: float, asked_as: str, span: RequestSpan | None) -> None:
        if span is None:
            self._access.told(PATH, status, seconds, asked_as)
        else:
            span.end(status)
            self._access.told(PATH, status, seconds, asked_as, span.trace_id)


def _piece(message: Message) -> bytes:
    if message["type"] == "http.disconnect":
        raise CallerGone
    piece: bytes = message.get("body", b"")
    return piece


def _not_allowed(method: str) -> OtherProblem:
    detail = f"{method} {PATH} is not something this API answers."
    return OtherProblem(405, "Method Not Allowed", detail, {"Allow": "POST"})


async def _refuse(problem: Problem, asked_as: str, send: Send) -> int:
    """Answer with a problem document; its status."""
    document = problem.document(asked_as)
    status: int = document["status"]
    own = [
        (name.lower().encode("latin-1"), value.encode("latin-1"))
        for name, value in problem.headers.items()
    ]
    await _send(send, status, orjson.dumps(document), asked_as, (*_REFUSED, *own))
    return status


async def _send(
    send: Send, status: int, body: bytes, asked_as: str, headers: tuple[tuple[bytes, bytes], ...]
) -> None:
    own = (
        (b"content-length", b"%d" % len(body)),
        (b"x-request-id", asked_as.encode()),
    )
    await send(
        {"type": "http.response.start", "status": status, "headers": [*headers, *own]},
    )
    await send({"type": "http.response.body", "body": body})
