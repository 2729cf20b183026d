"""Reading a segment file: frames in their order, whatever a crash or a bad disk left in it."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from feature_repo.ingest.raw.record import (
    FRAME,
    HEAD,
    MARK,
    REWRITTEN_HEAD,
    Frame,
    is_intact,
)

_CHUNK: Final = 1 << 20


class SegmentFile:
    """An open segment; the descriptor is the caller's to close."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        head = os.pread(descriptor, len(HEAD), 0)
        #: Whether frames may have moved from where they were written.
        self.is_rewritten = head == REWRITTEN_HEAD
        #: False for a file whose creator died before its first record, or that is none of ours.
        self.is_segment = head in (HEAD, REWRITTEN_HEAD)

    def size(self) -> int:
        """Bytes of the file now."""
        return os.fstat(self.descriptor).st_size

    def frames(self, offset: int = 0, until: int | None = None) -> Iterator[Frame]:
        """Frames from this offset on that end at or before the position `until`.

        Bytes that are no frame are passed over. At the end they are what a killed writer left;
        elsewhere a damaged disk, and what follows is still there to be read.
        """
        if not self.is_segment:
            return
        end = self.size() if until is None else until
        position = len(HEAD) if self.is_rewritten else max(offset, len(HEAD))
        while position + FRAME.size <= end:
            found = self._frame_at(position, end)
            if found is None:
                following = self._next_frame(position + 1, end)
                if following is None:
                    return
                position = following
                continue
            position = found.end
            if found.offset >= offset:
                yield found

    def frame(self, offset: int) -> Frame | None:
        """The frame of this offset, if it is there."""
        for found in self.frames(offset):
            return found if found.offset == offset else None
        return None

    def intact_end(self) -> int:
        """Position after the last frame."""
        end = len(HEAD)
        for found in self.frames():
            end = found.end
        return end

    def _frame_at(self, position: int, until: int) -> Frame | None:
        head = os.pread(self.descriptor, FRAME.size, position)
        if len(head) < FRAME.size:
            return None
        mark, size, checksum, offset, flags = FRAME.unpack(head)
        start = position + FRAME.size
        if mark != MARK or start + size > until or not (self.is_rewritten or offset == position):
            return None
        payload = os.pread(self.descriptor, size, start)
        if not is_intact(size, checksum, offset, flags, payload):
            return None
        end = start + size
        return Frame(offset, end, offset + 1 if self.is_rewritten else end, flags, payload)

    def _next_frame(self, position: int, end: int) -> int | None:
        """Position of the next intact frame at or after this one."""
        while position < end:
            chunk = os.pread(self.descriptor, min(_CHUNK, end - position), position)
            at = chunk.find(MARK)
            while at != -1:
                if self._frame_at(position + at, end) is not None:
                    return position + at
                at = chunk.find(MARK, at + 1)
            if len(chunk) < _CHUNK:
                return None
            # A mark may lie across two chunks.
            position += len(chunk) - len(MARK) + 1
        return None


def claim(path: Path) -> int | None:
    """A descriptor that owns the segment, or None when it is owned already or is gone.

    Whoever owns a segment may append to it, map it or rewrite it. The lock is on the open file,
    so it ends with its process, however that ends.
    """
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # A rewrite replaces the file: a lock on what it was before is worth nothing.
        if os.fstat(descriptor).st_ino == os.stat(path).st_ino:
            return descriptor
    except OSError as exc:
        if exc.errno not in (errno.EWOULDBLOCK, errno.ENOENT):
            os.close(descriptor)
            raise
    os.close(descriptor)
    return None


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
