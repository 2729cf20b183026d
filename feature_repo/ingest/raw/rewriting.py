"""Exchanging a segment for one without some of its records."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from feature_repo.ingest.raw.appender import FRESH_SUFFIX, refused
from feature_repo.ingest.raw.record import (
    REWRITTEN_HEAD,
    Frame,
    RawRecord,
    encode,
    frame,
)
from feature_repo.ingest.raw.segment import SegmentFile, sync_folder

Transform = Callable[[RawRecord], RawRecord | None]


def rewrite_segment(path: Path, file: SegmentFile, transform: Transform) -> int:
    """Put a new file in the place of an owned segment; how many records changed.

    Bytes that are no record are left out too: nobody can say whose they are.

    Raises:
        RawStoreUnavailable: the disk refuses; the segment is as it was.
    """
    fresh = path.with_suffix(FRESH_SUFFIX)
    try:
        with fresh.open("wb") as out:
            # Owned as well, so that nobody claims the new file between the rename and the end.
            fcntl.flock(out.fileno(), fcntl.LOCK_EX)
            changed, is_damaged = _copy(file, out, path.name, transform)
            if changed or is_damaged:
                os.fsync(out.fileno())
                fresh.replace(path)
                sync_folder(path.parent)
            else:
                fresh.unlink()
    except OSError as exc:
        fresh.unlink(missing_ok=True)
        raise refused(path.parent, exc) from exc
    return changed


def _copy(file: SegmentFile, out: BinaryIO, segment: str, transform: Transform) -> tuple[int, bool]:
    """How many records changed, and whether the old file held bytes that are no record."""
    changed, kept = 0, len(REWRITTEN_HEAD)
    out.write(REWRITTEN_HEAD)
    for found in file.frames():
        data, is_changed = _transformed(found, segment, transform)
        out.write(data)
        changed += is_changed
        kept += found.end - found.start
    out.flush()
    return changed, kept < file.size()


def _transformed(found: Frame, segment: str, transform: Transform) -> tuple[bytes, bool]:
    """The bytes that stand for a frame now, and whether they say something else."""
    before = found.record(segment)
    after = transform(before)
    if after is None:
        return b"", True
    if replace(after, ref=before.ref) == before:
        return frame(found.offset, found.flags, found.payload), False
    return frame(found.offset, *encode(after)), True
