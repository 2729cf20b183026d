"""Writes the prediction log off the request path: one bounded queue, one thread.

A clean stop loses nothing, a crash what waited: at most `flush_s` or `flush_rows`, whichever is
reached first. When rows come faster than the disk takes them, or it takes none, the queue fills to
`queue_rows`; what comes then is dropped and counted, and scoring goes on. So it does if the thread
ends before its time: all rows are then dropped and counted, and the server says it is degraded.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

import pyarrow as pa
import structlog

from serving.metrics import Metrics
from serving.prediction_log import PredictionBatch, file_key, write_batches

log = structlog.get_logger()

_UNUSABLE: Final = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    BufferError,
    LookupError,
    MemoryError,
    RuntimeError,
    TypeError,
    ValueError,
    pa.ArrowException,
)
"""What rows may break the writing with: they are dropped, and the others are written."""


class PredictionWriter:
    """The writing side: one queue and one thread. `add` never waits."""

    def __init__(
        self, folder: Path, metrics: Metrics, *, flush_s: float, flush_rows: int, queue_rows: int
    ) -> None:
        self._folder = folder
        self._metrics = metrics.log
        self._flush_s, self._flush_rows, self._queue_rows = flush_s, flush_rows, queue_rows
        self._waiting: deque[PredictionBatch] = deque()
        self._rows = 0
        self._metrics.queue.set_function(lambda: self._rows)
        self._changed = threading.Condition()
        self._stopping = False
        self._has_died = False
        self._metrics.writing.set_function(lambda: float(self.problem is None))
        self._thread = threading.Thread(target=self._run, name="prediction-log", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    @property
    def problem(self) -> str | None:
        """Why nothing is written any more; None: it is."""
        if not self._has_died:
            return None
        return "The prediction log is not written: its thread has ended. Restart the server."

    def add(self, batch: PredictionBatch) -> bool:
        """Queue the rows; False when they were dropped and counted: no room, or nobody writes."""
        with self._changed:
            if self._stopping or self._has_died or self._rows + len(batch) > self._queue_rows:
                self._metrics.dropped.inc(len(batch))
                return False
            self._waiting.append(batch)
            self._rows += len(batch)
            if self._rows >= self._flush_rows:
                self._changed.notify()
        return True

    def stop(self, timeout_s: float = 10.0) -> None:
        """Write what waits and end the thread. Rows that still cannot be written are counted."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        self._lose()

    def _lose(self) -> None:
        """Give up and count all that waits."""
        with self._changed:
            lost, self._rows = self._rows, 0
            self._waiting.clear()
        if lost:
            self._metrics.dropped.inc(lost)
            log.error("prediction_rows_lost", rows=lost)

    def flush(self) -> bool:
        """Write what waits, file by file; False when rows must wait on, for the disk."""
        with self._changed:
            taken, self._waiting = self._waiting, deque()
        files: dict[tuple[object, ...], list[PredictionBatch]] = {}
        for batch in taken:
            files.setdefault(file_key(batch), []).append(batch)
        kept = [batch for members in files.values() for batch in self._write(members)]
        if kept:
            with self._changed:
                self._waiting.extendleft(reversed(kept))
        return not kept

    def _write(self, members: Sequence[PredictionBatch]) -> Sequence[PredictionBatch]:
        """Write one file; what must wait on, for the disk."""
        try:
            write_batches(self._folder, members)
        except OSError as exc:
            self._metrics.failures.inc()
            log.error("prediction_log_unwritable", reason=str(exc))
            return members
        except _UNUSABLE as exc:
            # Not the disk but the rows of one batch, or too many of them for the memory there is;
            # trying again would block all after them.
            if len(members) > 1:
                middle = len(members) // 2
                return [*self._write(members[:middle]), *self._write(members[middle:])]
            self._metrics.dropped.inc(self._settle(members))
            log.error("prediction_rows_unusable", reason=type(exc).__name__)
            return ()
        self._metrics.written.inc(self._settle(members))
        return ()

    def _run(self) -> None:
        try:
            self._write_on()
        finally:
            # Before its time only by what nobody foresaw; the rows must not wait for ever.
            if not self._stopping:
                self._has_died = True
                log.error("prediction_log_ended")
                self._lose()

    def _write_on(self) -> None:
        disk_takes, stopping = True, False
        while not stopping:
            with self._changed:
                # A disk that refuses is tried again after the full wait, however much waits.
                enough = self._flush_rows if disk_takes else self._queue_rows + 1
                self._changed.wait_for(partial(self._is_due, enough), self._flush_s)
                stopping = self._stopping
            disk_takes = self.flush()

    def _is_due(self, enough: int) -> bool:
        return self._stopping or self._rows >= enough

    def _settle(self, members: Sequence[PredictionBatch]) -> int:
        """Count batches as waiting no more; the number of their rows."""
        rows = sum(len(batch) for batch in members)
        with self._changed:
            # Zero already when the stop has given them up meanwhile.
            self._rows = max(self._rows - rows, 0)
        return rows
