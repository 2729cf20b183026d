"""One pipelined connection to Redis: many readers at once, each given its own replies.

Whoever asks gets a future; replies come in the order of the questions. A reader that is cancelled
or late leaves its place in the queue, and its replies are thrown away when they come. Every
question ends with an ECHO of a word of its own, and replies are handed out only with that word
behind them: whatever goes wrong between here and Redis, nobody gets what another asked for.
"""

from __future__ import annotations

import asyncio
import math
import os
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, cast

import hiredis

from feature_repo.errors import StoreUnavailable
from serving.online.address import Address

MOST_WAITING: Final = 1_024
"""Questions on their way on one connection; more are refused."""

PIECE: Final = 1 << 15
"""Bytes the parser is given at once: after each reply it moves up all that it has left."""

_NOT_YET: Final = object()
_ECHO: Final = b"*2\r\n$4\r\nECHO\r\n$16\r\n%b\r\n"
_GRACE_S: Final = 0.001
"""A loop that was held up may run its timers before it reads its sockets: it reads once more."""

_LATE_S: Final = 0.25
"""A connection whose oldest reply is later than that is given up."""


class NoReply(StoreUnavailable):
    """Redis did not answer as it should; the message is the reason and no whole sentence."""

    def __init__(self, *, reason: str) -> None:
        super().__init__(reason)


@dataclass(slots=True, eq=False)
class _Waiting:
    """A question whose replies are still to come."""

    future: asyncio.Future[list[object]]
    #: Replies, with that to ECHO.
    count: int
    word: bytes
    deadline: float
    replies: list[object] = field(default_factory=list)


class Connection(asyncio.Protocol):
    """Made by `open_connection`. Belongs to one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._reader = hiredis.Reader(notEnoughData=_NOT_YET)
        self._waiting: deque[_Waiting] = deque()
        self._unsent: list[bytes] = []
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf
        self._salt = os.urandom(4).hex().encode()
        self._asked = 0
        self.is_open = False

    def ask(self, commands: bytes, count: int, timeout_s: float) -> asyncio.Future[list[object]]:
        """The `count` replies to `commands`; error replies of Redis are among them as values.

        What is asked in one turn of the loop goes out at once. The future may be cancelled.

        Raises (the future, or at once):
            NoReply: not in time, the connection broke, or too many wait.
        """
        if not self.is_open:
            raise NoReply(reason="the connection is closed")
        if len(self._waiting) >= MOST_WAITING:
            raise NoReply(reason=f"{MOST_WAITING} questions wait for a reply")
        self._asked = (self._asked + 1) & 0xFFFFFFFF
        word = b"%b%08x" % (self._salt, self._asked)
        future: asyncio.Future[list[object]] = self._loop.create_future()
        deadline = self._loop.time() + timeout_s
        self._waiting.append(_Waiting(future, count + 1, word, deadline))
        if not self._unsent:
            self._loop.call_soon(self._send)
        self._unsent += (commands, _ECHO % word)
        self._wake(deadline, self._look)
        return future

    def give_up(self, reason: str) -> None:
        """Close at once; all that wait fail with the reason."""
        self.is_open = False
        self._sleep()
        self._unsent.clear()
        if self._transport is not None:
            self._transport.abort()
        waiting, self._waiting = self._waiting, deque()
        for one in waiting:
            _fail(one, reason)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        self._transport = cast("asyncio.Transport", transport)
        self.is_open = True

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop, also after `give_up`."""
        self.give_up(f"the connection broke: {exc}" if exc else "it closed the connection")

    def data_received(self, data: bytes) -> None:
        """Called by the loop: hand out what is complete."""
        try:
            for start in range(0, len(data), PIECE):
                self._reader.feed(data, start, min(PIECE, len(data) - start))
                if not self._hand_out():
                    return
        except hiredis.HiredisError as exc:
            self.give_up(f"it does not speak Redis' protocol: {exc}")

    def _hand_out(self) -> bool:
        """Give complete replies to who waits; False when the connection was given up."""
        gets = self._reader.gets
        while (reply := gets()) is not _NOT_YET:
            if not self._waiting:
                self.give_up("it said something that nobody had asked for")
                return False
            head = self._waiting[0]
            head.replies.append(reply)
            if len(head.replies) == head.count:
                self._waiting.popleft()
                if not self._finish(head):
                    return False
        return True

    def _finish(self, one: _Waiting) -> bool:
        """Hand out the replies if they are those of the question."""
        word = one.replies.pop()
        if word != one.word:
            reason = out_of_step([*one.replies, word])
            _fail(one, reason)
            self.give_up(reason)
            return False
        if not one.future.done():
            one.future.set_result(one.replies)
        return True

    def _send(self) -> None:
        if self._unsent and self._transport is not None:
            self._transport.write(b"".join(self._unsent))
            self._unsent.clear()

    def _wake(self, at: float, then: Callable[[], None]) -> None:
        """Call at that time of the loop's, unless something is called sooner anyway."""
        if at < self._timer_at:
            self._sleep()
            self._timer_at = at
            self._timer = self._loop.call_at(at, then)

    def _sleep(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        self._timer_at = math.inf

    def _look(self) -> None:
        """A deadline may have passed: read the sockets first, then see."""
        self._sleep()
        self._wake(self._loop.time() + _GRACE_S, self._expire)

    def _expire(self) -> None:
        self._sleep()
        now = self._loop.time()
        if self._waiting and self._waiting[0].deadline + _LATE_S <= now:
            self.give_up("its replies do not come")
            return
        for one in self._waiting:
            if one.deadline > now:
                self._wake(one.deadline, self._look)
                return
            _fail(one, "it does not answer in time")
        if self._waiting:
            self._wake(self._waiting[0].deadline + _LATE_S, self._look)


def out_of_step(replies: Sequence[object]) -> str:
    """Why replies do not end with the word that was to be echoed: an error, most of the time."""
    errors = [reply for reply in replies if isinstance(reply, hiredis.ReplyError)]
    return f"it says {errors[0]}" if errors else "replies are out of step"


def _fail(one: _Waiting, reason: str) -> None:
    if not one.future.done():
        one.future.set_exception(NoReply(reason=reason))


async def open_connection(address: Address, timeout_s: float) -> Connection:
    """A connection that was let in and on which PING was answered.

    Raises:
        NoReply: it could not be had within `timeout_s`.
    """
    loop = asyncio.get_running_loop()
    connection = Connection(loop)
    is_ready = False
    try:
        async with asyncio.timeout(timeout_s):
            await _connect(loop, connection, address)
            hello = connection.ask(address.hello, address.hello_replies, timeout_s)
            check_hello(await hello)
        is_ready = True
    except TimeoutError as exc:
        raise NoReply(reason=f"no connection within {timeout_s:g} s") from exc
    except OSError as exc:
        raise NoReply(reason=f"{type(exc).__name__}: {exc}") from exc
    finally:
        if not is_ready:
            connection.give_up("it was not let in")
    return connection


async def _connect(
    loop: asyncio.AbstractEventLoop, connection: Connection, address: Address
) -> None:
    if address.path is not None:
        await loop.create_unix_connection(lambda: connection, address.path)
        return
    name = address.host if address.tls is not None else None
    await loop.create_connection(
        lambda: connection, address.host, address.port, ssl=address.tls, server_hostname=name
    )


def check_hello(replies: Sequence[object]) -> None:
    """Raise NoReply unless these are the replies to `Address.hello`."""
    *accepted, pong = replies
    for reply in accepted:
        if reply != b"OK":
            raise NoReply(reason=f"it says {reply}")
    if pong != b"PONG":
        raise NoReply(reason=f"it says {pong}")
