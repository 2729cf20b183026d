"""Whether the index's file can be believed after the machine went down.

The index is written without waiting for the disk: waiting made an append to a log of ten million
rows take three times as long. A process that is killed costs nothing, the system still writes. But
after a power cut the file may be anything, and it is made anew. A note beside it says which start
of the system it was written in, or that it was put on the disk in order. Users hold the note's
lock, shared; whoever is alone with it may change what the file is believed to be.
"""

from __future__ import annotations

import fcntl
import os
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Final

_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")
_CLEAN: Final = "clean"
_LONGEST: Final = 64


def boot_id() -> str | None:
    """What names this start of the system; None where the system does not say."""
    try:
        return _BOOT.read_text().strip()
    except OSError:
        return None


class Trust:
    """The note about one index, for as long as it is in use."""

    def __init__(self, path: Path, boot: str, distrust: Callable[[], None]) -> None:
        """Calls `distrust`, with nobody else using the index, if its file may be anything."""
        self._boot = boot
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        self._finalizer = weakref.finalize(self, os.close, self._descriptor)
        if self._is_alone():
            if self._read() not in (boot, _CLEAN):
                distrust()
            self._write(boot)
        fcntl.flock(self._descriptor, fcntl.LOCK_SH)
        # Between the two locks another user may have gone and left it clean.
        if self._read() != boot:
            self._write(boot)

    def release(self, make_durable: Callable[[], None]) -> None:
        """Stop using the index; the last user puts it on the disk and says so."""
        if self._finalizer.alive:
            if self._is_alone():
                make_durable()
                self._write(_CLEAN)
            self._finalizer()

    def _is_alone(self) -> bool:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _read(self) -> str:
        return os.pread(self._descriptor, _LONGEST, 0).decode("ascii", "replace")

    def _write(self, text: str) -> None:
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, text.encode(), 0)
        os.fsync(self._descriptor)
