"""Group commit: requests that come together share one fsync."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from feature_repo.ingest.raw.appender import Appender, OpenSegment, RawStoreUnavailable
from feature_repo.ingest.raw.record import RawRecord, encode

Resolve = Callable[[str | RawStoreUnavailable], None]
"""Told the reference of a record once it is durable, or why it is not; by the thread."""


class GroupCommit:
    """Makes records durable in a thread of its own, all that wait at once.

    `opened` and `sealed` are told which segments this process begins and ends; `committed` that
    something became readable. All three are called by the thread, or by who calls `rotate`.
    """

    def __init__(
        self,
        appender: Appender,
        *,
        clock: Callable[[], datetime],
        segment_bytes: int,
        segment_age_s: float,
        window_s: float,
        seal_request: Callable[[], int],
        opened: Callable[[OpenSegment], None],
        sealed: Callable[[OpenSegment, bool], None],
        committed: Callable[[int, int, float], None],
    ) -> None:
        self._appender = appender
        self._clock = clock
        self._segment_bytes = segment_bytes
        self._segment_age = timedelta(seconds=segment_age_s)
        self._window_s = window_s
        self._seal_request = seal_request
        self._opened, self._sealed, self._committed = opened, sealed, committed
        self._waiting: list[tuple[RawRecord, Resolve]] = []
        self._changed = threading.Condition()
        #: Held while the open segment is written to or exchanged.
        self._writing = threading.Lock()
        self._segment: OpenSegment | None = None
        self._thread: threading.Thread | None = None
        self._closed = False

    def submit(self, record: RawRecord, resolve: Resolve) -> None:
        """Make the record durable soon."""
        with self._changed:
            if self._closed:
                message = "The raw store is closed: this process is stopping."
                resolve(RawStoreUnavailable(message))
                return
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="raw-store", daemon=True)
                self._thread.start()
            self._waiting.append((record, resolve))
            if len(self._waiting) == 1:
                self._changed.notify()

    def rotate(self, *, force: bool = False) -> None:
        """End the open segment if it is full, old or asked to end."""
        with self._writing:
            segment = self._segment
            if segment is not None and segment.has_records and (force or self._is_due(segment)):
                self._end(segment)

    def close(self) -> None:
        """Make durable what waits, and end the segment."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()
        self.rotate(force=True)

    def _run(self) -> None:
        while batch := self._next_batch():
            started = time.perf_counter()
            with self._writing:
                size = self._commit(batch)
            if size:
                self._committed(len(batch), size, time.perf_counter() - started)

    def _next_batch(self) -> list[tuple[RawRecord, Resolve]]:
        with self._changed:
            while not self._waiting and not self._closed:
                self._changed.wait()
        if self._window_s and not self._closed:
            time.sleep(self._window_s)
        with self._changed:
            batch, self._waiting = self._waiting, []
        return batch

    def _commit(self, batch: Sequence[tuple[RawRecord, Resolve]]) -> int:
        """Bytes written; 0 when they could not be."""
        payloads = [encode(record) for record, _ in batch]
        try:
            segment = self._open_segment()
            before = segment.durable
            refs = self._appender.append(segment, payloads)
        except RawStoreUnavailable as exc:
            if self._segment is not None:
                self._end(self._segment)
            for _, resolve in batch:
                resolve(exc)
            return 0
        for (_, resolve), ref in zip(batch, refs, strict=True):
            resolve(ref)
        return segment.durable - before

    def _open_segment(self) -> OpenSegment:
        if self._segment is not None and self._is_due(self._segment):
            self._end(self._segment)
        if self._segment is None:
            self._segment = self._appender.open(self._seal_request())
            self._opened(self._segment)
        return self._segment

    def _is_due(self, segment: OpenSegment) -> bool:
        return (
            segment.durable >= self._segment_bytes
            or self._clock() - segment.opened_at >= self._segment_age
            or segment.seal != self._seal_request()
        )

    def _end(self, segment: OpenSegment) -> None:
        self._segment = None
        self._sealed(segment, self._appender.abandon(segment))
