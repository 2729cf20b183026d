"""The server's side of audience jobs: takes them in and sees that a runner is at work."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

import structlog

from serving.audience.jobs import JobStore, TooManyJobs

LOOK_EVERY_S: Final = 1.0
TIDY_EVERY_S: Final = 3600.0
MOST_INTAKES: Final = 2
"""Segments that one process takes in at once."""

_PATIENCE_S: Final = 12.0
"""A runner whose Redis hangs needs ten seconds to notice."""

_COMMAND: Final = (sys.executable, "-m", "serving.audience.runner")

log = structlog.get_logger()


def _spawn() -> subprocess.Popen[bytes]:
    return subprocess.Popen(_COMMAND, stdin=subprocess.DEVNULL)


@dataclass
class Desk:
    """Jobs of an installation, as one server process sees them."""

    jobs: JobStore
    targets: Sequence[str]
    spawn: Callable[[], subprocess.Popen[bytes]] = _spawn
    #: Whether a runner of the installation is at work, whichever process started it.
    is_worked_on: Callable[[], bool] = lambda: False
    #: How long ended jobs are kept.
    keep: timedelta = timedelta(days=7)
    monotonic: Callable[[], float] = time.monotonic
    _runner: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _tidied_at: float = field(default=-TIDY_EVERY_S, init=False)
    _intakes: int = field(default=0, init=False)

    @contextmanager
    def intake(self) -> Iterator[None]:
        """Take in one submit; its file is held in memory, so there are not many at once.

        Raises:
            TooManyJobs: others are being taken in.
        """
        if self._intakes >= MOST_INTAKES:
            message = f"{self._intakes} segments are being taken in. Send this one in a moment."
            raise TooManyJobs(message)
        self._intakes += 1
        try:
            yield
        finally:
            self._intakes -= 1

    def look(self) -> None:
        """Start a runner when a job waits and none is at work; now and then, forget old jobs."""
        if self.monotonic() - self._tidied_at >= TIDY_EVERY_S:
            self._tidied_at = self.monotonic()
            self.jobs.forget_old(self.keep)
        if self._runner is not None and self._runner.poll() is None:
            return
        if self.jobs.next() is not None and not self.is_worked_on():
            try:
                self._runner = self.spawn()
            except OSError as exc:
                log.error("audience_runner_not_started", reason=str(exc))

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Look once a second: jobs left behind by a dead runner are taken up again.

        At the end the runner finishes its chunk and ends; its job is begun again by the next one.
        """
        looking = asyncio.create_task(self._look_on())
        try:
            yield
        finally:
            looking.cancel()
            await asyncio.wait([looking])
            await self._stop()

    async def _look_on(self) -> None:
        while True:
            await asyncio.to_thread(self.look)
            await asyncio.sleep(LOOK_EVERY_S)

    async def _stop(self) -> None:
        runner, self._runner = self._runner, None
        if runner is None or runner.poll() is not None:
            return
        runner.terminate()
        with suppress(subprocess.TimeoutExpired):
            await asyncio.to_thread(runner.wait, _PATIENCE_S)
        if runner.poll() is None:
            runner.kill()
            await asyncio.to_thread(runner.wait)
