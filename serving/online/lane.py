"""A connection that is kept open, a deadline for every read, and a breaker before both."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import structlog

from feature_repo.errors import StoreUnavailable
from serving.online.address import Address
from serving.online.connection import Connection, NoReply, open_connection

log = structlog.get_logger()

Answer = TypeVar("Answer")

FAILURES_TO_OPEN: Final = 3
PROBE_S: Final = 0.1
"""Between two looks whether a store that failed is back."""

LONGEST_WAIT_S: Final = 0.4
"""Longest wait for the first look at a store that fails again as soon as it is back."""

_RELAPSE_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Check:
    """A question like those that are asked, whose answer tells that the others have one too.

    A Redis that answers PING may still refuse all reads, by its access rules for one.
    """

    commands: bytes
    #: How many replies the commands have.
    count: int
    #: Raises NoReply when they are not as they should be.
    read: Callable[[Sequence[object]], object]


@dataclass(slots=True)
class Breaker:
    """Whether a store that keeps failing is left alone. Closed again by whoever probes."""

    failures: int = 0

    @property
    def is_open(self) -> bool:
        """Whether nobody should ask."""
        return self.failures >= FAILURES_TO_OPEN

    def succeeded(self) -> None:
        """The store answered. An answer to what was asked before it opened does not close it."""
        if not self.is_open:
            self.failures = 0

    def failed(self) -> bool:
        """The store did not answer; whether that opens the breaker."""
        was_open = self.is_open
        self.failures += 1
        return self.is_open and not was_open

    def close(self) -> None:
        """A probe was answered."""
        self.failures = 0


class Lane:
    """Where questions of one kind go. Belongs to the event loop it is first used in.

    After three failures in a row it refuses at once, drops its connection, and a task tries to
    open a fresh one: at once, and then every 0.1 s until the check is answered on it. When that
    was less than a second ago, the task waits first: 0.1 s, and twice as long each time that
    happens again, 0.4 s at most.
    """

    def __init__(
        self, address: Address, check: Check, *, read_timeout_s: float, connect_timeout_s: float
    ) -> None:
        self._address = address
        self._check = check
        self._read_timeout_s = read_timeout_s
        self._connect_timeout_s = connect_timeout_s
        self._breaker = Breaker()
        self._connection: Connection | None = None
        self._opening: asyncio.Task[Connection] | None = None
        self._probing: asyncio.Task[None] | None = None
        self._probed_at = -_RELAPSE_S
        self._wait_s = 0.0
        self._is_closed = False

    async def ask(
        self, commands: bytes, count: int, read: Callable[[list[object]], Answer]
    ) -> Answer:
        """What `read` makes of the `count` replies to the commands; raises NoReply if nothing.

        Raises:
            StoreUnavailable: no such replies in time, or the breaker is open.
        """
        if self._is_closed:
            message = f"The reader of Redis at {self._address.shown} is closed."
            raise StoreUnavailable(message)
        if self._breaker.is_open:
            message = (
                f"Redis at {self._address.shown} keeps failing; it is tried every {PROBE_S} s."
            )
            raise StoreUnavailable(message)
        try:
            connection = self._connection
            if connection is None or not connection.is_open:
                connection = await self._opened()
            answer = read(await connection.ask(commands, count, self._read_timeout_s))
        except NoReply as exc:
            if self._breaker.failed() and not self._is_closed:
                self._open_breaker(exc)
            message = (
                f"Redis at {self._address.shown} does not answer ({exc}). Check FORESEND_REDIS_URL."
            )
            raise StoreUnavailable(message) from exc
        self._breaker.succeeded()
        return answer

    async def ping(self) -> None:
        """Return when the check is answered.

        Raises:
            StoreUnavailable: it is not, or the breaker is open, which a probe would have closed.
        """
        check = self._check
        await self.ask(check.commands, check.count, check.read)

    async def close(self) -> None:
        """Close the connection; whoever waits fails. Nothing can be asked afterwards."""
        self._is_closed = True
        tasks = [task for task in (self._opening, self._probing) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._connection is not None:
            self._connection.give_up("the reader is closed")

    async def _opened(self) -> Connection:
        """A fresh connection, opened once for all who need it now."""
        if self._opening is None:
            opening = open_connection(self._address, self._connect_timeout_s)
            self._opening = asyncio.get_running_loop().create_task(opening)
            self._opening.add_done_callback(self._take)
        opened = self._opening
        # Not awaited itself: a reader that is cancelled must not end it for the others.
        await asyncio.wait([opened])
        if opened.cancelled():
            raise NoReply(reason="the reader is closed")
        return opened.result()

    def _take(self, opened: asyncio.Task[Connection]) -> None:
        self._opening = None
        if not opened.cancelled() and opened.exception() is None:
            self._use(opened.result())

    def _use(self, connection: Connection) -> None:
        if self._connection is not None:
            self._connection.give_up("another connection took its place")
        self._connection = connection

    def _open_breaker(self, cause: NoReply) -> None:
        log.warning("online_store_left_alone", redis=self._address.shown, cause=str(cause))
        if self._connection is not None:
            self._connection.give_up("it failed three times in a row")
        loop = asyncio.get_running_loop()
        is_relapse = loop.time() < self._probed_at + _RELAPSE_S
        self._wait_s = min(max(2 * self._wait_s, PROBE_S), LONGEST_WAIT_S) if is_relapse else 0.0
        self._probing = loop.create_task(self._probe(self._wait_s))

    async def _probe(self, wait_s: float) -> None:
        """Try until a fresh connection answers the check, then let everybody ask."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(wait_s)
            self._probed_at = loop.time()
            try:
                connection = await self._checked()
            except NoReply:
                wait_s = PROBE_S
                continue
            self._use(connection)
            self._breaker.close()
            log.info("online_store_back", redis=self._address.shown)
            return

    async def _checked(self) -> Connection:
        """A fresh connection on which the check was answered; raises NoReply."""
        check, is_good = self._check, False
        connection = await open_connection(self._address, self._connect_timeout_s)
        try:
            replies = await connection.ask(check.commands, check.count, self._read_timeout_s)
            check.read(replies)
            is_good = True
        finally:
            if not is_good:
                connection.give_up("it did not answer what it is there for")
        return connection
