"""The raw store: what providers sent, kept before anyone answers or reads it.

A folder of segment files (`<UTC start>-<pid>-<nonce>.seg`). Every process appends to a segment of
its own and owns it, by a lock on the file, until all that came of the segment is safe elsewhere. A
segment that nobody owns and that is not done belonged to a process that ended; a mapper claims it.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import structlog

from feature_repo.errors import StoreUnavailable
from feature_repo.ingest.raw.appender import (
    FRESH_SUFFIX,
    Appender,
    OpenSegment,
    RawStoreUnavailable,
)
from feature_repo.ingest.raw.commit import GroupCommit
from feature_repo.ingest.raw.reader import RawReader
from feature_repo.ingest.raw.record import RawRecord
from feature_repo.ingest.raw.rewriting import rewrite_segment
from feature_repo.ingest.raw.segment import SegmentFile, claim, sync_folder

_SEAL: Final = "seal"
_FRESH_FOR_S: Final = 60.0

log = structlog.get_logger()


def _nothing(_records: int, _size: int, _seconds: float) -> None:
    """No one measures."""


class RawStore(RawReader):
    """Appends, reads, rewrites and prunes. Safe to use from several threads."""

    def __init__(
        self,
        folder: Path,
        *,
        segment_bytes: int = 64_000_000,
        segment_age_s: float = 3600.0,
        window_s: float = 0.001,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        measure: Callable[[int, int, float], None] = _nothing,
        sync: Callable[[int], None] = os.fdatasync,
    ) -> None:
        super().__init__(folder)
        self._measure = measure
        #: Descriptors of the segments this process owns.
        self._owned: dict[str, int] = {}
        self._open: OpenSegment | None = None
        self._guard = threading.RLock()
        self._arrived = threading.Event()
        self._commit = GroupCommit(
            Appender(folder, clock=clock, sync=sync),
            clock=clock,
            segment_bytes=segment_bytes,
            segment_age_s=segment_age_s,
            window_s=window_s,
            seal_request=self._seal_request,
            opened=self._on_opened,
            sealed=self._on_sealed,
            committed=self._on_committed,
        )

    def submit(self, record: RawRecord) -> Future[str]:
        """The record's reference once it is durable, or RawStoreUnavailable: it is not there."""
        done: Future[str] = Future()

        def resolve(found: str | RawStoreUnavailable) -> None:
            if isinstance(found, str):
                done.set_result(found)
            else:
                done.set_exception(found)

        self._commit.submit(record, resolve)
        return done

    async def land(self, record: RawRecord) -> str:
        """See `append`; a third of what it costs to wait for `submit` in an event loop."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[str | RawStoreUnavailable] = loop.create_future()

        def resolve(found: str | RawStoreUnavailable) -> None:
            loop.call_soon_threadsafe(_resolve, done, found)

        self._commit.submit(record, resolve)
        found = await done
        if isinstance(found, str):
            return found
        raise found

    def append(self, record: RawRecord) -> str:
        """The record's reference; it is durable when this returns.

        Raises:
            RawStoreUnavailable: it is not; nothing of it is visible, and trying again is right.
        """
        return self.submit(record).result()

    def rewrite(
        self,
        segment: str,
        transform: Callable[[RawRecord], RawRecord | None],
        *,
        wait_s: float = 60.0,
    ) -> int:
        """Replace records by what `transform` makes of them, None for nothing; how many changed.

        The file is exchanged as a whole, or not at all. References to the other records, and to
        events inside a changed one, stay right. A segment in use is ended first, and waited for.

        Raises:
            StoreUnavailable: it is still in use after `wait_s`.
        """
        path = self.folder / segment
        descriptor = claim(path)
        if descriptor is None and path.exists():
            self.request_seal()
            descriptor = _claim_within(path, wait_s)
        if descriptor is None:
            return 0
        try:
            return rewrite_segment(path, SegmentFile(descriptor), transform)
        finally:
            os.close(descriptor)

    def prune(self, before: datetime, is_done: Callable[[str], bool]) -> list[str]:
        """Delete finished segments that nobody owns and that ended before this moment."""
        gone = []
        for segment in self.segments():
            path = self.folder / segment
            if not is_done(segment) or path.stat().st_mtime >= before.timestamp():
                continue
            descriptor = claim(path)
            if descriptor is not None:
                path.unlink()
                os.close(descriptor)
                gone.append(segment)
        if gone:
            sync_folder(self.folder)
        return gone

    def owned(self) -> list[str]:
        """Segments this process owns: the one it appends to, and those it has still to map."""
        with self._guard:
            return sorted(self._owned)

    def is_open(self, segment: str) -> bool:
        """Whether records may still be appended to it by this process."""
        return self._open is not None and self._open.name == segment

    def adopt(self, is_done: Callable[[str], bool]) -> list[str]:
        """Claim segments that their process left unmapped; a torn tail is cut off."""
        with self._guard:
            orphans = [name for name in self.segments() if name not in self._owned]
        adopted = []
        for name in orphans:
            if is_done(name) or (descriptor := claim(self.folder / name)) is None:
                continue
            file = SegmentFile(descriptor)
            if not file.is_segment:
                log.warning("foreign_file_in_raw_store", file=name)
                os.close(descriptor)
                continue
            if (end := file.intact_end()) < file.size():
                os.ftruncate(descriptor, end)
            with self._guard:
                self._owned[name] = descriptor
            adopted.append(name)
        self._sweep()
        return adopted

    def release(self, segment: str) -> None:
        """Give up a segment that nothing more is to be done with."""
        with self._guard:
            descriptor = self._owned.pop(segment, None)
        if descriptor is not None:
            os.close(descriptor)

    def rotate(self) -> None:
        """End the open segment if its time has come or an erasure waits for it."""
        self._commit.rotate()

    def request_seal(self) -> None:
        """Ask every process to end its open segment."""
        (self.folder / _SEAL).touch()

    def wait(self, timeout_s: float) -> None:
        """Return when something was appended since the last call, or after the timeout."""
        self._arrived.wait(timeout_s)
        self._arrived.clear()

    def wake(self) -> None:
        """Make `wait` return."""
        self._arrived.set()

    def close(self) -> None:
        """Make durable what was submitted and end the open segment; the others stay owned."""
        self._commit.close()

    def abandon(self) -> None:
        """Give up all segments, for another process to claim those that are not mapped."""
        for segment in self.owned():
            self.release(segment)

    def _sweep(self) -> None:
        """Delete files that a process was making when it died."""
        for path in self.folder.glob(f"*{FRESH_SUFFIX}"):
            if (descriptor := claim(path)) is not None:
                # A file is locked right after it is made; before, it is younger than this.
                if time.time() - os.fstat(descriptor).st_mtime > _FRESH_FOR_S:
                    path.unlink()
                os.close(descriptor)

    def _seal_request(self) -> int:
        try:
            return (self.folder / _SEAL).stat().st_mtime_ns
        except FileNotFoundError:
            return 0

    def _durable(self, segment: str) -> int | None:
        """See `RawReader`."""
        opened = self._open
        return opened.durable if opened is not None and opened.name == segment else None

    def _on_opened(self, segment: OpenSegment) -> None:
        with self._guard:
            self._open = segment
            self._owned[segment.name] = segment.descriptor

    def _on_sealed(self, segment: OpenSegment, gone: bool) -> None:
        with self._guard:
            self._open = None
            if gone:
                del self._owned[segment.name]
        self._arrived.set()

    def _on_committed(self, records: int, size: int, seconds: float) -> None:
        self._arrived.set()
        self._measure(records, size, seconds)


def _resolve(
    done: asyncio.Future[str | RawStoreUnavailable], found: str | RawStoreUnavailable
) -> None:
    # Whoever waited may have gone away.
    if not done.done():
        done.set_result(found)


def _claim_within(path: Path, wait_s: float) -> int | None:
    """Claim a segment once its owner lets it go; None when it is gone."""
    until = time.monotonic() + wait_s
    while path.exists():
        descriptor = claim(path)
        if descriptor is not None:
            return descriptor
        if time.monotonic() >= until:
            message = (
                f"Raw segment {path.name} is still in use after {wait_s:.0f} s: the ingest service "
                "or a worker has not finished with it. `foresend status` shows what holds it up."
            )
            raise StoreUnavailable(message)
        time.sleep(0.05)
    return None
