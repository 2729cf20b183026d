"""Reading the raw store, from any process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from feature_repo.ingest.raw.appender import SUFFIX
from feature_repo.ingest.raw.record import BadReference, RawRecord, parse_reference, reference
from feature_repo.ingest.raw.segment import SegmentFile


class RawReader:
    """Finds and reads records. Those another process is about to acknowledge may be among them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self, ref: str) -> RawRecord:
        """The record of a reference (`<segment>:<offset>`, with or without `#<index>`).

        Raises:
            BadReference: there is none; it was erased or pruned, or never was.
        """
        segment, offset = parse_reference(ref)
        with self._opened_to_read(segment) as file:
            frame = None if file is None else file.frame(offset)
            if frame is None:
                message = f"The raw store has no record {ref!r}; it was erased, or pruned by age."
                raise BadReference(message)
            return frame.record(segment)

    def records(self, cursor: str | None = None) -> Iterator[tuple[str, RawRecord]]:
        """All records after the cursor, segment by segment, each with the cursor after it.

        Segments come in the order of their start. Those of several processes overlap in time, so
        a cursor serves to resume one pass over what was there; it does not follow the newest.
        """
        first, start = ("", 0) if cursor is None else parse_reference(cursor)
        for segment in self.segments():
            if segment < first:
                continue
            for end, record in self.records_of(segment, start if segment == first else 0):
                yield reference(segment, end), record

    def records_of(self, segment: str, offset: int = 0) -> Iterator[tuple[int, RawRecord]]:
        """Records of a segment from an offset on, each with the offset that follows it."""
        with self._opened_to_read(segment) as file:
            if file is None:
                return
            for frame in file.frames(offset, self._durable(segment)):
                yield frame.after, frame.record(segment)

    def segments(self) -> list[str]:
        """Names of all segments, oldest first."""
        try:
            names = os.listdir(self.folder)
        except FileNotFoundError:
            return []
        return sorted(name for name in names if name.endswith(SUFFIX))

    def size(self, segment: str) -> int:
        """Bytes of a segment that may be read; 0 when it is gone."""
        durable = self._durable(segment)
        if durable is not None:
            return durable
        try:
            return (self.folder / segment).stat().st_size
        except FileNotFoundError:
            return 0

    def _durable(self, _segment: str) -> int | None:
        """Position up to which a segment may be read; None: to its end."""
        return None

    @contextmanager
    def _opened_to_read(self, segment: str) -> Iterator[SegmentFile | None]:
        try:
            descriptor = os.open(self.folder / segment, os.O_RDONLY)
        except FileNotFoundError:
            yield None
            return
        try:
            yield SegmentFile(descriptor)
        finally:
            os.close(descriptor)
