"""One open segment that is appended to, and what happens when the disk refuses."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from feature_repo.errors import StoreUnavailable
from feature_repo.ingest.raw.record import HEAD, frame, reference
from feature_repo.ingest.raw.segment import sync_folder

SUFFIX: Final = ".seg"

FRESH_SUFFIX: Final = ".new"
"""Of files that are being made; one that nobody holds was left by a process that died."""

_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class RawStoreUnavailable(StoreUnavailable):
    """The raw store cannot make a record durable; nothing of it was kept."""


@dataclass(slots=True)
class OpenSegment:
    """The segment of this process; this process owns it as long as the descriptor is open."""

    name: str
    descriptor: int
    opened_at: datetime
    #: Position up to which everything is on the disk.
    durable: int
    #: The seal request that was the latest when it was opened.
    seal: int

    @property
    def has_records(self) -> bool:
        """Whether anything was ever made durable in it."""
        return self.durable > len(HEAD)


class Appender:
    """Appends payloads to segments. Used by one thread."""

    def __init__(
        self,
        folder: Path,
        *,
        clock: Callable[[], datetime],
        sync: Callable[[int], None] = os.fdatasync,
    ) -> None:
        self._folder = folder
        self._clock = clock
        self._sync = sync

    def open(self, seal: int) -> OpenSegment:
        """A new segment whose name is durable.

        Raises:
            RawStoreUnavailable: the disk refuses.
        """
        now = self._clock()
        name = f"{now:%Y%m%dT%H%M%S.%f}Z-{os.getpid()}-{secrets.token_hex(4)}{SUFFIX}"
        path = self._folder / name
        # Under this name until it is locked and complete, or another process would claim it.
        fresh = path.with_suffix(FRESH_SUFFIX)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError as exc:
            raise refused(self._folder, exc) from exc
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _write(descriptor, HEAD)
            self._sync(descriptor)
            fresh.rename(path)
            sync_folder(self._folder)
        except OSError as exc:
            for left in (fresh, path):
                with contextlib.suppress(OSError):
                    left.unlink()
            os.close(descriptor)
            raise refused(self._folder, exc) from exc
        return OpenSegment(name, descriptor, now, len(HEAD), seal)

    def append(self, segment: OpenSegment, payloads: Sequence[tuple[int, bytes]]) -> list[str]:
        """References of the payloads, which are on the disk when this returns.

        Raises:
            RawStoreUnavailable: none of them is; the segment must not be appended to again. What
                a failed fsync left in the page cache is unknown, and a record that a reader has
                already seen must not be replaced by another at its place.
        """
        refs, parts, position = [], [], segment.durable
        for flags, payload in payloads:
            parts.append(frame(position, flags, payload))
            refs.append(reference(segment.name, position))
            position += len(parts[-1])
        try:
            _write(segment.descriptor, b"".join(parts))
            self._sync(segment.descriptor)
        except OSError as exc:
            raise refused(self._folder, exc) from exc
        segment.durable = position
        return refs

    def abandon(self, segment: OpenSegment) -> bool:
        """Take back what is not durable; True when nothing is left and the file is gone."""
        # When the disk refuses this too, what was not acknowledged stays as a torn tail.
        with contextlib.suppress(OSError):
            if segment.has_records:
                os.ftruncate(segment.descriptor, segment.durable)
            else:
                (self._folder / segment.name).unlink()
        if not segment.has_records:
            os.close(segment.descriptor)
        return not segment.has_records


def _write(descriptor: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]


def refused(folder: Path, exc: OSError) -> RawStoreUnavailable:
    """The error that says what the disk refused, and what to do."""
    cure = (
        "Free space on its disk, or lift the quota."
        if exc.errno in _FULL
        else "Look at the disk and at the rights of the folder."
    )
    word = errno.errorcode.get(exc.errno or 0, "?")
    message = f"The raw store in {folder} cannot be written to ({word}: {exc.strerror}). {cure}"
    return RawStoreUnavailable(message)
