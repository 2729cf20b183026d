"""Whether a delivery may be taken: the queue, what is landed and not mapped, and the disk.

Looked at beside the requests, never by one: a queue that does not answer must not slow anything
that the raw store can hold.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

import structlog

from feature_repo.errors import StoreUnavailable
from feature_repo.ingest.metrics import Metrics
from feature_repo.ingest.settings import IngestSettings

log = structlog.get_logger()

CAUSES: Final = ("queue", "backlog", "disk")


class Fullness(Protocol):
    """The part of the queue that is looked at."""

    def fullness(self) -> float:
        """How much of what it may take is taken.

        Raises:
            StoreUnavailable: it does not answer.
        """


class Pressure:
    """Why deliveries are refused at the moment, if they are."""

    def __init__(
        self,
        queue: Fullness,
        raw_folder: Path,
        backlog_bytes: Callable[[], int],
        settings: IngestSettings,
        metrics: Metrics,
    ) -> None:
        self._queue = queue
        self._raw_folder = raw_folder
        self._backlog_bytes = backlog_bytes
        self._settings = settings
        self._metrics = metrics
        #: Cause and sentence; None: take what comes.
        self.refusing: tuple[str, str] | None = None
        #: Why the last delivery could not be made durable. The next one is tried all the same:
        #: nothing else would notice that it can be again.
        self.landing_problem: str | None = None
        #: Why the queue is not seen; deliveries are taken all the same.
        self.queue_problem: str | None = None

    async def run(self) -> None:
        """Look again and again."""
        while True:
            await asyncio.to_thread(self.look)
            await asyncio.sleep(self._settings.pressure_poll_s)

    def look(self) -> None:
        """Look once."""
        before = self.refusing
        self.refusing = self._disk() or self._backlog() or self._full_queue()
        cause = None if self.refusing is None else self.refusing[0]
        for name in CAUSES:
            fails = name == "disk" and self.landing_problem is not None
            self._metrics.pressure.labels(name).set(fails or name == cause)
        if before is None and self.refusing is not None:
            log.warning("deliveries_refused", cause=cause, reason=self.refusing[1])
        elif before is not None and self.refusing is None:
            log.info("deliveries_taken_again", cause=before[0])

    def landed(self, problem: str | None) -> None:
        """Say whether a delivery was made durable, and why not; the log hears of changes."""
        before, self.landing_problem = self.landing_problem, problem
        if before is None and problem is not None:
            log.error("deliveries_not_durable", problem=problem)
        elif before is not None and problem is None:
            log.info("deliveries_durable_again")

    def _disk(self) -> tuple[str, str] | None:
        try:
            found = os.statvfs(self._raw_folder)
        except OSError as exc:
            return "disk", f"The raw store's folder does not answer ({exc.strerror})."
        free, least = found.f_bavail * found.f_frsize, self._settings.min_free_bytes
        if free >= least:
            return None
        return "disk", f"The raw store's disk has {free} bytes free, fewer than {least}."

    def _backlog(self) -> tuple[str, str] | None:
        waiting, most = self._backlog_bytes(), self._settings.max_backlog_bytes
        if waiting <= most:
            return None
        return "backlog", f"{waiting} bytes are landed and not mapped, more than {most}."

    def _full_queue(self) -> tuple[str, str] | None:
        try:
            fullness = self._queue.fullness()
        except StoreUnavailable as exc:
            self.queue_problem = str(exc)
            return None
        self.queue_problem = None
        if fullness < self._settings.queue_full_at:
            return None
        return "queue", f"The queue is {fullness:.0%} full; its consumers must catch up."
