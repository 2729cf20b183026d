"""Connections behind the gate: what finds no place in it is refused as cheaply as can be.

Refusing inside the application costs half of what an answer costs, so beyond 1.5 times its
capacity a server would spend itself on saying no. The gate stands before a task is made, and counts
there: counting when tasks start lets hundreds in per turn of the loop.

A small request is counted when its last byte has come, so that slow senders hold no place. One that
waits behind another on its connection is counted when its turn comes and the answers before it are
on their way, so that neither who sends many at once nor who reads no answers holds places.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any, ClassVar, Final
from urllib.parse import unquote_to_bytes

import httptools
from uvicorn._types import ASGI3Application, ASGIReceiveCallable, ASGISendCallable, Scope
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from feature_repo.protocol import BoundedProtocol, Refusal
from serving.admission.gate import Budget, Gate

PATH: Final = b"/v1/score"
BULK_BYTES: Final = 8_192
"""A request with a longer body, or one whose length is not announced, is bulk."""

RETRY_AFTER_S: Final = 1

_FIRST_LINE: Final = b"POST /v1/score HTTP/1.1\r\n"
_LONGEST_LENGTH: Final = 7
"""Digits; `int` raises for thousands of them."""

_DOUBTFUL: Final = (b"transfer-encoding", b"expect:", b"upgrade:", b" :")
"""Headers that have a say in where a request ends; `Connection` is looked at beside them."""

_REFUSED: Final = Refusal(
    HTTPStatus.TOO_MANY_REQUESTS,
    "overloaded",
    "Too many requests are in hand",
    f"The server has as many requests in hand as it can answer in time. Ask again in "
    f"{RETRY_AFTER_S} s or, better, after a random part of twice that.",
    f"retry-after: {RETRY_AFTER_S}",
)


class _Counted:
    """The application for one kind of request: it gives the place back at the end."""

    __slots__ = ("_app", "budget")

    def __init__(self, app: ASGI3Application, budget: Budget) -> None:
        self._app, self.budget = app, budget

    async def __call__(
        self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        try:
            await self._app(scope, receive, send)
        finally:
            self.budget.in_flight -= 1


class _Queued:
    """The application for a request that has to wait: it asks for a place when it can be answered.

    Waiting is for the answers before it, on their way to the other end.
    """

    __slots__ = ("_counted", "_flow", "_gate")

    def __init__(self, counted: _Counted, gate: Gate, flow: FlowControl) -> None:
        self._counted, self._gate, self._flow = counted, gate, flow

    async def __call__(
        self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        if self._flow.write_paused:
            await self._flow.drain()
        if self._gate.enter(self._counted.budget):
            await self._counted(scope, receive, send)
        else:
            await _refuse(scope, receive, send)


async def _refuse(_: Scope, __: ASGIReceiveCallable, send: ASGISendCallable) -> None:
    """The refusal of a request that waits behind another one on its connection."""
    headers = [(name.encode(), value.encode()) for name, value in _REFUSED.headers]
    headers += [
        (b"x-content-type-options", b"nosniff"),
        (b"cache-control", b"no-store"),
        (b"content-length", str(len(_REFUSED.body)).encode()),
    ]
    await send({"type": "http.response.start", "status": int(_REFUSED.status), "headers": headers})
    await send({"type": "http.response.body", "body": _REFUSED.body, "more_body": False})


def is_one_request(data: bytes) -> bool:
    """Whether these bytes are one small request, all of it and nothing more, beyond any doubt.

    >>> is_one_request(b"POST /v1/score HTTP/1.1\\r\\nContent-Length: 2\\r\\n\\r\\n{}")
    True
    >>> is_one_request(b"POST /v1/score HTTP/1.1\\r\\nContent-Length: 2\\r\\n\\r\\n{")
    False
    """
    end = data.find(b"\r\n\r\n")
    if end < 0 or len(data) > BULK_BYTES:
        return False
    head = data[: end + 2].lower()
    if any(word in head for word in _DOUBTFUL):
        return False
    if head.count(b"connection:") != head.count(b"\r\nconnection: keep-alive\r\n"):
        return False
    # A line that ends otherwise may hide a header from us, or from the parser.
    if not head.count(b"\r") == head.count(b"\n") == head.count(b"\r\n"):
        return False
    if head.count(b"content-length") != 1:
        return False
    length = head.partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0].strip(b" \t")
    if not length.isdigit() or len(length) > _LONGEST_LENGTH:
        return False
    return end + 4 + int(length) == len(data)


class _Answered:
    """Stands for a request that is answered already: what comes of its body is passed over."""

    response_complete = True
    disconnected = False
    keep_alive = True
    message_event = asyncio.Event()


_ANSWERED: Final[Any] = _Answered()


class GatedProtocol(BoundedProtocol):
    """One connection; made by `gate_protocol`."""

    gate: ClassVar[Gate]

    app: ASGI3Application
    cycle: RequestResponseCycle | None
    #: The body of a small request until it is complete.
    _held: bytes | None = None
    _swallowed = 0
    _closes_after_body = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._plain = self.app
        self._single = _Counted(self._plain, self.gate.singles)
        self._bulk = _Counted(self._plain, self.gate.bulk)

    def data_received(self, data: bytes) -> None:
        """Parse what came; what would be refused anyway is refused without."""
        gate = self.gate
        if (
            gate.singles.in_flight >= gate.singles.limit
            and data.startswith(_FIRST_LINE)
            and self.began is None
            and self.is_idle()
            and is_one_request(data)
        ):
            gate.singles.refused += 1
            self._refuse(close=False)
            if self.bounds.is_leaving:
                self._ended = True
                self.transport.close()
            elif not self._ended:
                self.rest()
        else:
            super().data_received(data)

    def on_message_begin(self) -> None:
        """A request's first byte: a refused one before it is over."""
        super().on_message_begin()
        if self.cycle is _ANSWERED:
            self.cycle = None

    def on_headers_complete(self) -> None:
        """Let the request in, refuse it, or wait for its small body first."""
        if self.has_long_head():
            return
        if not self._is_gated():
            self.start()
            return
        length = self._length()
        is_single = length is not None and length <= BULK_BYTES
        if is_single and not self.expect_100_continue and not self.parser.should_upgrade():
            self._held = b""
        elif self._starts(is_single=is_single):
            pass
        else:
            self._refuse_body(length)

    def on_body(self, body: bytes) -> None:
        """Keep a small body, pass over a refused one, hand on the others."""
        if self._held is not None:
            self._held += body
        elif self.cycle is _ANSWERED:
            self._swallowed += len(body)
            if self._swallowed > self.gate.swallow_bytes:
                self.transport.close()
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Let a small request in, now that it is whole."""
        if self._held is not None and not self._ended:
            body, self._held = self._held, None
            if self._starts(is_single=True):
                super().on_body(body)
            else:
                self._refuse(close=not self.parser.should_keep_alive())
        if self.cycle is _ANSWERED:
            self.began = None
            if self._closes_after_body:
                self._ended = True
                self.transport.close()
            else:
                self.rest()
        else:
            super().on_message_complete()

    def end_with(self, refusal: Refusal) -> None:
        """Answer and close; a request that was refused before its body came has its answer."""
        if self.cycle is _ANSWERED and self.began is not None:
            self._ended, self.began = True, None
            self.transport.close()
        else:
            super().end_with(refusal)

    def _is_gated(self) -> bool:
        if self.parser.get_method() != b"POST":
            return False
        if self.url == PATH:
            return True
        try:
            path = httptools.parse_url(self.url).path or b""
        except httptools.HttpParserInvalidURLError:
            return False
        # With a query, or written another way.
        return unquote_to_bytes(path) == PATH

    def _length(self) -> int | None:
        for name, value in self.headers:
            if name == b"content-length":
                return int(value)
            if name == b"transfer-encoding":
                return None
        return 0

    def _starts(self, *, is_single: bool) -> bool:
        """Whether the request was let in, or waits for its turn."""
        counted = self._single if is_single else self._bulk
        has_place = self.gate.has_place(counted.budget)
        if not self.is_idle() or (self.flow.write_paused and has_place):
            self.app = _Queued(counted, self.gate, self.flow)
        elif self.gate.enter(counted.budget):
            self.app = counted
        else:
            return False
        self.start()
        self.app = self._plain
        return True

    def _refuse_body(self, length: int | None) -> None:
        """Refuse a request whose body is still to come."""
        too_long = length is not None and length > self.gate.swallow_bytes
        # Who waits for `100 Continue` sends no body after a refusal: the next bytes would be
        # taken for it.
        ends = too_long or self.expect_100_continue
        self._refuse(close=ends or not self.parser.should_keep_alive())
        if ends:
            self._ended = True
            self.transport.close()

    def _refuse(self, *, close: bool) -> None:
        if self.flow.write_paused:
            # It sends and sends and reads none of its answers.
            self._ended = True
            self.transport.abort()
            return
        close = close or self.bounds.is_leaving
        self._closes_after_body, self._swallowed = close, 0
        self.cycle = _ANSWERED
        self.transport.write_now(_REFUSED.answer(self.server_state.default_headers, close=close))


def gate_protocol(gate: Gate) -> type[GatedProtocol]:
    """The protocol for uvicorn's `http` setting."""
    return type("Gated", (GatedProtocol,), {"gate": gate, "bounds": gate.bounds})
