"""The `archive` group: events into the log, and word of corrections to the recompute role."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

import redis

from feature_repo import online
from feature_repo.event import Event
from feature_repo.history.log_writer import ARCHIVE, LogWriter
from feature_repo.settings import Settings
from feature_repo.stream.online_epoch import corrected_key

_SLICE: Final = 1_000


class ArchiveHandler:
    """Appends micro-batches. All effects are durable when `handle` returns.

    Corrections are noted in the log's index in the step that makes their rows known, and stay
    there until Redis has them. So a process killed in between, or a Redis that was away, delays
    them until the next batch and loses none.
    """

    def __init__(
        self,
        settings: Settings,
        client: redis.Redis,
        clock: Callable[[], datetime],
        *,
        lock_wait_s: float = 30.0,
    ) -> None:
        del clock  # Every handler is given one; nothing here depends on the time.
        self._client = client
        self._key = corrected_key(settings.project)
        self._writer = LogWriter(settings, writer=ARCHIVE, lock_wait_s=lock_wait_s)

    def handle(self, events: Sequence[Event]) -> None:
        """Append the events, and hand over what they or earlier ones corrected.

        Raises:
            StoreUnavailable: the log cannot be written or Redis does not answer; handle them
                again.
        """
        self._writer.append(events)
        corrected = self._writer.corrections()
        if not corrected:
            return
        with online.answers():
            for start in range(0, len(corrected), _SLICE):
                self._client.sadd(self._key, *corrected[start : start + _SLICE])
        self._writer.handed_over(corrected)

    def close(self) -> None:
        """Release the log's index."""
        self._writer.close()
