"""HTTP over a bare socket: whatever bytes a test likes, and crowds of clients that send them."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

CONNECTIONS: Final = 8


@dataclass(frozen=True)
class Reply:
    """One answer as it came."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def ends(self) -> bool:
        """Whether the server says that nothing more will come on this connection."""
        return self.headers.get("connection", "").lower() == "close"

    def json(self) -> Any:
        return json.loads(self.body)


def request(
    body: bytes, *, headers: Sequence[str] = (), method: str = "POST", path: str = "/v1/score"
) -> bytes:
    """A request as a sane client writes it."""
    lines = [
        f"{method} {path} HTTP/1.1",
        "Host: foresend",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *headers,
    ]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


class Wire:
    """A connection that is kept until it ends. Not shared between threads."""

    def __init__(self, port: int, timeout_s: float = 30.0) -> None:
        self._port, self._timeout_s = port, timeout_s
        self._socket: socket.socket | None = None
        self._unread = b""

    def send(self, data: bytes) -> None:
        """Send it all, over a new connection when there is none."""
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self._port), self._timeout_s)
            self._unread = b""
        # The server may answer and close before it has all of it: the answer is read next.
        with suppress(BrokenPipeError, ConnectionResetError):
            self._socket.sendall(data)

    def end_sending(self) -> None:
        """Tell the other side that nothing more comes."""
        assert self._socket is not None
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def read(self) -> Reply | None:
        """The next answer, None when the connection ended without one."""
        while (end := self._unread.find(b"\r\n\r\n")) < 0:
            if not self._receive():
                return None
        head, self._unread = self._unread[:end], self._unread[end + 4 :]
        first, *lines = head.decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in lines)
        headers = {key.lower(): value.strip() for key, _, value in pairs}
        length = int(headers.get("content-length", "0"))
        while len(self._unread) < length:
            assert self._receive(), f"an answer broke off: {first}"
        body, self._unread = self._unread[:length], self._unread[length:]
        reply = Reply(int(first.split()[1]), headers, body)
        if reply.status == 100:
            return self.read()
        if reply.ends:
            self.close()
        return reply

    def ask(self, data: bytes) -> Reply:
        """The answer to one request."""
        self.send(data)
        reply = self.read()
        assert reply is not None, "the connection ended without an answer"
        return reply

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection; the next request makes a new one."""
        if self._socket is not None:
            self._socket.close()
        self._socket, self._unread = None, b""

    def _receive(self) -> bool:
        data = b""
        if self._socket is not None:
            with suppress(ConnectionResetError):
                data = self._socket.recv(65_536)
        self._unread += data
        if not data:
            self.close()
        return bool(data)


@dataclass
class Crowd:
    """Threads that share out numbered work, each with a connection of its own."""

    port: int
    work: Callable[[Wire, int], None]
    failures: list[str] = field(default_factory=list)
    _next: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, count: int) -> None:
        """Do all of it; the first things that went wrong are the failure."""
        threads = [threading.Thread(target=self._run, args=(count,)) for _ in range(CONNECTIONS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert self.failures == [], self.failures

    def _run(self, count: int) -> None:
        try:
            with Wire(self.port) as wire:
                while (number := self._take(count)) is not None:
                    self.work(wire, number)
        except (AssertionError, OSError, ValueError, KeyError) as exc:
            self.failures.append(f"{type(exc).__name__}: {exc}"[:2_000])

    def _take(self, count: int) -> int | None:
        with self._lock:
            if self._next >= count or self.failures:
                return None
            self._next += 1
            return self._next - 1
