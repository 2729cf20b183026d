"""A load generator for one core: many connections, one request at a time on each.

`closed` sends the next request when the last is answered; `open_loop` sends at a fixed rate
whatever comes back, and times each answer from the moment it should have been sent.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from typing import Final, cast
from urllib.parse import urlsplit

import numpy as np
import uvloop

_LENGTH: Final = b"content-length: "
_AWAY: Final = b'"store_unavailable"'
_TICK_S: Final = 0.001


@dataclass
class Answers:
    """What came back, in the order of coming."""

    seconds: float = 0.0
    #: Seconds from sending (or from when it was due) to the last byte, of each answer.
    latency: list[float] = field(default_factory=list)
    #: When each answer was complete, seconds from the start.
    at: list[float] = field(default_factory=list)
    status: list[int] = field(default_factory=list)
    #: Whether each answer says that the feature store was away.
    without_store: list[bool] = field(default_factory=list)
    #: Requests that were given up or whose connection broke.
    lost: int = 0

    @property
    def per_s(self) -> float:
        """Answers of status 200 per second."""
        return self.count(200) / self.seconds

    def count(self, status: int) -> int:
        """Answers of a status."""
        return Counter(self.status)[status]

    def good_per_s(self, within_s: float) -> float:
        """Answers of status 200 per second that took no longer."""
        good = (np.array(self.status) == 200) & (np.array(self.latency) <= within_s)
        return float(good.sum()) / self.seconds

    def ms(self, percentile: float, status: int = 200) -> float:
        """Milliseconds of the answers of a status; NaN when there are none."""
        chosen = np.array(self.latency)[np.array(self.status) == status]
        return float(np.percentile(chosen, percentile) * 1e3) if chosen.size else float("nan")


def request(url: str, body: bytes, headers: Sequence[tuple[str, str]] = ()) -> bytes:
    """The bytes of a POST of JSON."""
    place = urlsplit(url)
    lines = [f"POST {place.path} HTTP/1.1", f"Host: {place.netloc}"]
    lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class _Connection(asyncio.Protocol):
    """One connection; tells when its answer is complete."""

    def __init__(self, answered: Callable[[_Connection, int], None]) -> None:
        self._answered = answered
        self._buffer = b""
        self._transport: asyncio.Transport | None = None
        self.due = 0.0
        self.is_open = False
        self.is_without_store = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transport is one without being registered as such.
        self._transport, self.is_open = cast(asyncio.Transport, transport), True

    def connection_lost(self, _: Exception | None) -> None:
        self.is_open = False
        self._answered(self, 0)

    def send(self, data: bytes, due: float) -> None:
        self.due = due
        assert self._transport is not None
        self._transport.write(data)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head = self._buffer.find(b"\r\n\r\n")
        if head < 0:
            return
        start = self._buffer.lower().find(_LENGTH, 0, head)
        end = self._buffer.find(b"\r\n", start)
        whole = head + 4 + (int(self._buffer[start + len(_LENGTH) : end]) if start > 0 else 0)
        if len(self._buffer) < whole:
            return
        status = int(self._buffer[9:12])
        self.is_without_store = _AWAY in self._buffer
        self._buffer = self._buffer[whole:]
        self._answered(self, status)

    def close(self) -> None:
        self._answered = lambda *_: None
        if self._transport is not None:
            self._transport.close()


def closed(url: str, requests: Sequence[bytes], *, connections: int, seconds: float) -> Answers:
    """Keep `connections` requests in flight for a while."""
    return uvloop.run(_closed(url, cycle(requests), connections, seconds))


async def _closed(url: str, bodies: Iterator[bytes], connections: int, seconds: float) -> Answers:
    answers = Answers()
    started = time.perf_counter()

    def answered(connection: _Connection, status: int) -> None:
        now = time.perf_counter()
        _note(answers, connection, status, now, started)
        if now - started < seconds and connection.is_open:
            connection.send(next(bodies), now)

    held = await _connect(url, connections, answered)
    started = time.perf_counter()
    for connection in held:
        connection.send(next(bodies), time.perf_counter())
    await asyncio.sleep(seconds)
    answers.seconds = time.perf_counter() - started
    for connection in held:
        connection.close()
    return answers


def open_loop(
    url: str,
    requests: Sequence[bytes],
    *,
    per_s: float,
    seconds: float,
    connections: int = 512,
    give_up_s: float = 0.2,
) -> Answers:
    """Send at a rate over idle connections; one that waits longer than `give_up_s` is lost.

    A request that finds every connection busy waits its turn, its time already running.
    """
    return uvloop.run(_open_loop(url, cycle(requests), per_s, seconds, connections, give_up_s))


async def _open_loop(
    url: str,
    bodies: Iterator[bytes],
    per_s: float,
    seconds: float,
    connections: int,
    give_up_s: float,
) -> Answers:
    answers = Answers()
    idle: deque[_Connection] = deque()
    due_at: deque[float] = deque()
    started = time.perf_counter()

    def answered(connection: _Connection, status: int) -> None:
        _note(answers, connection, status, time.perf_counter(), started)
        if connection.is_open:
            idle.append(connection)

    held = await _connect(url, connections, answered)
    idle.extend(held)
    started = time.perf_counter()
    sent = 0
    while (now := time.perf_counter()) - started < seconds:
        wanted = int((now - started) * per_s)
        due_at.extend(started + number / per_s for number in range(sent, wanted))
        sent = wanted
        while due_at and now - due_at[0] > give_up_s:
            due_at.popleft()
            answers.lost += 1
        while due_at and idle:
            idle.popleft().send(next(bodies), due_at.popleft())
        await asyncio.sleep(_TICK_S)
    answers.seconds = time.perf_counter() - started
    for connection in held:
        connection.close()
    return answers


def _note(
    answers: Answers, connection: _Connection, status: int, now: float, started: float
) -> None:
    if status == 0:
        answers.lost += 1
        return
    answers.latency.append(now - connection.due)
    answers.at.append(now - started)
    answers.status.append(status)
    answers.without_store.append(connection.is_without_store)


async def _connect(
    url: str, connections: int, answered: Callable[[_Connection, int], None]
) -> list[_Connection]:
    loop, place = asyncio.get_running_loop(), urlsplit(url)
    made = []
    for _ in range(connections):
        _, connection = await loop.create_connection(
            lambda: _Connection(answered), place.hostname or "", place.port or 80
        )
        made.append(connection)
    return made
