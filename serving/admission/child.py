"""A worker as its parent sees it."""

from __future__ import annotations

import asyncio
import itertools
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import msgspec

from serving.admission.channel import (
    Accept,
    AskOwn,
    AskSeries,
    Begin,
    Line,
    Loaded,
    Series,
    State,
    encode,
)

LAST_SERIES: Final = -1
"""Given unasked by a worker that leaves, so that nothing it counted is lost."""

_serials = itertools.count()


class Child:
    """One process; made by `start_child`."""

    def __init__(self, number: int, process: asyncio.subprocess.Process, line: Line) -> None:
        self.number = number
        self.serial = next(_serials)
        self._process = process
        self._line = line
        self._asks = itertools.count()
        self._waiting: dict[int, asyncio.Future[str]] = {}
        self._started_at = self._heard_at = time.monotonic()
        self.is_loaded = False
        #: None: it has not said yet.
        self.is_ready: bool | None = None
        #: Whether it was told to take connections.
        self.is_accepting = False
        self.is_leaving = False
        self.has_ended = asyncio.Event()

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    @property
    def code(self) -> int | None:
        """How it ended; below 0: by this signal."""
        return self._process.returncode

    def age_s(self) -> float:
        """Since it was started."""
        return time.monotonic() - self._started_at

    def silent_s(self) -> float:
        """Since it last said anything."""
        return time.monotonic() - self._heard_at

    def accept(self) -> None:
        """Let it take connections."""
        self.is_accepting = True
        self._line.say(Accept())

    def leave(self) -> None:
        """Let it finish what it has and end; what never took a connection is ended at once."""
        self.is_leaving = True
        if self.is_accepting:
            self._signal(signal.SIGTERM)
        else:
            self.kill()

    def kill(self) -> None:
        """End it now."""
        self._signal(signal.SIGKILL)

    def give(self, series: Series) -> None:
        """Send it the series of all workers."""
        self._line.say(series)

    async def own_series(self, wait_s: float) -> str | None:
        """Its metrics now; None when it does not answer in time."""
        ask = next(self._asks)
        self._waiting[ask] = asyncio.get_running_loop().create_future()
        self._line.say(AskOwn(ask))
        try:
            async with asyncio.timeout(wait_s):
                return await self._waiting[ask]
        except TimeoutError:
            return None
        finally:
            self._waiting.pop(ask, None)

    async def follow(
        self, asked: Callable[[Child, int], None], last: Callable[[Child, str], None]
    ) -> None:
        """Hear it until it ends. `asked`: it wants the series of all; `last`: its last ones."""
        async for message in self._line.heard():
            self._heard_at = time.monotonic()
            if isinstance(message, Loaded):
                self.is_loaded = True
            elif isinstance(message, State):
                self.is_ready = message.ready
            elif isinstance(message, AskSeries):
                asked(self, message.ask)
            elif isinstance(message, Series) and message.ask == LAST_SERIES:
                last(self, message.text)
            elif isinstance(message, Series):
                waiting = self._waiting.get(message.ask)
                if waiting is not None and not waiting.done():
                    waiting.set_result(message.text)
        await self._process.wait()
        self._line.close()
        self.is_ready = False
        self.has_ended.set()

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            self._process.send_signal(number)


async def start_child(begin: Begin, number: int) -> Child:
    """A new worker, started afresh: nothing of this process but two sockets is in it.

    Raises:
        OSError: the system has no process or socket for it now.
    """
    mine, theirs = socket.socketpair()
    with theirs:
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "serving.admission.worker", str(theirs.fileno())),
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), begin.listening),
                # Ctrl-C reaches the parent only, which stops its workers as it should.
                start_new_session=True,
            )
        except OSError:
            mine.close()
            raise
    # One that is gone already is found to be when it is followed.
    with suppress(ConnectionError):
        mine.sendall(encode(msgspec.structs.replace(begin, number=number)))
    return Child(number, process, await Line.over(mine))
