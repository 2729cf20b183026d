"""HTTP connections with bounds: on heads, on slow senders, and told when the server leaves.

The parser that uvicorn uses limits neither a request's line nor its headers, and uvicorn waits for
the rest of a request for ever.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sized
from dataclasses import dataclass
from fcntl import ioctl
from http import HTTPStatus
from struct import pack, unpack
from termios import FIONREAD
from typing import ClassVar, Final

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from feature_repo.cork import Cork

_LINE: Final = "HTTP/1.1 {status} {phrase}\r\n"
_SECURITY: Final = "x-content-type-options: nosniff\r\ncache-control: no-store\r\n"

_MOST_WAITING: Final = 16
"""Requests on one connection behind the one that is answered, beyond which it is not read; those
that came in the same piece are kept."""


@dataclass(slots=True)
class Bounds:
    """The limits of one server's connections, and whether it is leaving."""

    url_bytes: int = 8_192
    #: Of a request whose headers do not come in one piece.
    head_bytes: int = 65_536
    headers: int = 100
    #: From the first byte of a request to its last; slower ones are ended.
    receive_s: float = 30.0
    #: An answer may wait so long for its reader; then its connection is ended.
    send_s: float = 15.0
    #: Set when the server stops: every answer then says that its connection ends.
    is_leaving: bool = False


class Refusal:
    """An answer that is given without the application, as bytes made beforehand."""

    def __init__(self, status: HTTPStatus, kind: str, title: str, detail: str, *more: str) -> None:
        document = {
            "type": f"urn:foresend:problem:{kind}",
            "title": title,
            "status": int(status),
            "detail": detail,
            # It has none: nothing of it was looked at but its first lines.
            "request_id": "",
        }
        self.status = status
        self.headers = (
            ("content-type", "application/problem+json"),
            *(tuple(line.split(": ", 1)) for line in more),
        )
        self.body = json.dumps(document).encode()
        named = "".join(f"{name}: {value}\r\n" for name, value in self.headers)
        head = f"{named}{_SECURITY}content-length: {len(self.body)}\r\n"
        self._line = _LINE.format(status=int(status), phrase=status.phrase).encode()
        self._open = f"{head}\r\n".encode() + self.body
        self._close = f"{head}connection: close\r\n\r\n".encode() + self.body

    def answer(self, defaults: list[tuple[bytes, bytes]], *, close: bool) -> bytes:
        """The whole answer; `defaults` are the server's own headers, such as the date."""
        own = b"".join(b"%b: %b\r\n" % pair for pair in defaults)
        return self._line + own + (self._close if close else self._open)


_BAD: Final = Refusal(
    HTTPStatus.BAD_REQUEST, "http", "Bad Request", "This is no HTTP request that can be read."
)
_TOO_SLOW: Final = Refusal(
    HTTPStatus.REQUEST_TIMEOUT,
    "too-slow",
    "Request Timeout",
    "The request was not complete in time. Send it again, in one piece.",
)
_LONG_URL: Final = Refusal(
    HTTPStatus.REQUEST_URI_TOO_LONG,
    "http",
    "URI Too Long",
    "The address of the request is too long.",
)
_LONG_HEAD: Final = Refusal(
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    "http",
    "Request Header Fields Too Large",
    "The request has too many headers, or too long ones.",
)


class _Flow(FlowControl):  # type: ignore[misc]  # uvicorn is read without types
    """Reads no more while many requests wait: for a slow reader they would be kept without end."""

    def __init__(self, transport: asyncio.Transport, waiting: Sized) -> None:
        super().__init__(transport)
        self._waiting = waiting

    def resume_reading(self) -> None:
        """Read again, unless too many wait behind the request that is answered."""
        if len(self._waiting) < _MOST_WAITING and not self._transport.is_closing():
            super().resume_reading()


class BoundedProtocol(HttpToolsProtocol):  # type: ignore[misc]  # uvicorn is read without types
    """One connection; made by `bounded_protocol`."""

    bounds: ClassVar[Bounds]

    transport: Cork
    #: The loop's time when a request began to come that is not complete; None: there is none.
    began: float | None = None
    _in_head = False
    #: Whether the newest request was handed on, so that `cycle` is its own.
    _is_started = False
    _head_bytes = 0
    #: Requests of which the newest read held bytes.
    _in_read = 0
    #: The loop's time when it was first seen that nobody takes what is to be written.
    _stuck_since: float | None = None
    _ended = False

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Wait for a first request no longer than for a next one."""
        super().connection_made(transport)
        self.flow = _Flow(transport, self.pipeline)
        self.transport = Cork(transport, self.loop)
        self.rest()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget what waits: nobody would read its answer."""
        self.pipeline.clear()
        super().connection_lost(exc)

    def rest(self) -> None:
        """Wait for the next request as long as connections are kept alive."""
        self._unset_keepalive_if_required()
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )

    def data_received(self, data: bytes) -> None:
        """Parse what came, unless its head never ends."""
        self._in_read = 0 if self.began is None else 1
        super().data_received(data)
        # What came before a head in the same read is not counted, nor then its own first bytes.
        if self._in_head and self._in_read == 1 and not self._ended:
            self._head_bytes += len(data)
            if self._head_bytes > self.bounds.head_bytes:
                self.end_with(_LONG_HEAD)

    def on_message_begin(self) -> None:
        """A request's first byte."""
        super().on_message_begin()
        self.began = self.loop.time()
        self._in_read += 1
        self._in_head, self._is_started, self._head_bytes = True, False, 0

    def on_headers_complete(self) -> None:
        """Start the request."""
        if not self.has_long_head():
            self.start()

    def has_long_head(self) -> bool:
        """Whether the head was too long, and the connection is ended."""
        self._in_head = False
        if not self._ended:
            if len(self.url) > self.bounds.url_bytes:
                self.end_with(_LONG_URL)
            elif len(self.headers) > self.bounds.headers:
                self.end_with(_LONG_HEAD)
        return self._ended

    def start(self) -> None:
        """Hand the request to the application, or queue it behind the one that is answered."""
        super().on_headers_complete()
        self._is_started = True
        if self.bounds.is_leaving:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        if not self._ended:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The request's last byte."""
        self.began = None
        if not self._ended:
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """The last byte of an answer."""
        super().on_response_complete()
        if self._ended and not self.pipeline and (self.is_idle() or self.cycle.disconnected):
            self.transport.close()

    def end_after_answer(self) -> None:
        """Close the connection after the last answer that is under way on it."""
        # An answer whose head is written has promised that the connection goes on.
        if not self.is_idle() and not self.cycle.response_started:
            self.cycle.keep_alive = False

    def shutdown(self) -> None:
        """Close the connection, or let it end with what is under way on it."""
        if self.is_idle():
            if self.began is None and not self._has_unread():
                self.transport.close()
        else:
            self.end_after_answer()

    def _has_unread(self) -> bool:
        """Whether the system holds bytes of a next request, which closing would answer with RST."""
        socket = self.transport.get_extra_info("socket")
        if socket is None or socket.fileno() < 0:
            return False
        (waiting,) = unpack("i", ioctl(socket.fileno(), FIONREAD, pack("i", 0)))
        return bool(waiting)

    def send_400_response(self, msg: str) -> None:
        """Answer what the parser could not read; `msg` says no more than that."""
        if not self._ended:
            self.end_with(_BAD)

    def resume_writing(self) -> None:
        """The other end took what waited for it."""
        self._stuck_since = None
        super().resume_writing()

    def end_if_slow(self, now: float) -> None:
        """End the connection when its request takes too long to come, or its answer to go.

        now: the loop's time.
        """
        if self._is_stuck(now):
            self._ended, self.began = True, None
            self.transport.abort()
            return
        if self.began is None or self.flow.read_paused:
            return
        if now - self.began > self.bounds.receive_s:
            self.end_with(_TOO_SLOW)

    def _is_stuck(self, now: float) -> bool:
        """Whether it has waited too long for the other end to take an answer."""
        if not (self.flow.write_paused or self.transport.is_closing()):
            return False
        if self._stuck_since is None:
            self._stuck_since = now
        return now - self._stuck_since > self.bounds.send_s

    def end_with(self, refusal: Refusal) -> None:
        """Answer and close; nothing that still comes is looked at.

        Requests that came completely before are answered first, and the connection ends with them.
        """
        is_inside = self.began is not None and self._is_started
        self._ended, self.began = True, None
        if is_inside and self.pipeline:
            self._give_up_newest()
        elif not self.is_idle() and not is_inside:
            # Into an answer that is under way nothing can be written.
            self.end_after_answer()
        else:
            if not (is_inside and self.cycle.response_started):
                self.transport.write(refusal.answer(self.server_state.default_headers, close=True))
            self.transport.close()

    def _give_up_newest(self) -> None:
        """Answer those before it; it waits behind them and will never be complete."""
        self.cycle.disconnected = True
        self.cycle.message_event.set()

    def is_idle(self) -> bool:
        """Whether no request on this connection is being answered."""
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is None or cycle.response_complete


def bounded_protocol(bounds: Bounds) -> type[BoundedProtocol]:
    """The protocol for uvicorn's `http` setting."""
    return type("Bounded", (BoundedProtocol,), {"bounds": bounds})
