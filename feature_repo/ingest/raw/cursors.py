"""How far each raw segment is mapped, in one small file per segment."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from feature_repo.ingest.raw.record import HEAD

START: Final = len(HEAD)
"""Offset of the first record of a segment."""


class Cursor(msgspec.Struct, frozen=True, kw_only=True):
    """How far a segment is."""

    #: Everything before is mapped and in the queue.
    offset: int = START
    #: Everything before has left the queue on the other side.
    settled: int = START
    #: Nothing will follow and all is settled: nobody needs to look at the segment again.
    done: bool = False


class Cursors:
    """Cursors of a folder of state; one object per process.

    Only the owner of a segment moves its cursor. One that is lost or damaged stands at the
    beginning: events that were published already are published once more, and have their effect
    once.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[str, Cursor] = {}

    def get(self, segment: str) -> Cursor:
        """The cursor of a segment that this process owns."""
        known = self._known.get(segment)
        return self._read(segment) if known is None else known

    def is_done(self, segment: str) -> bool:
        """Whether nobody needs to look at the segment again."""
        known = self._known.get(segment)
        if known is None or not known.done:
            known = self._read(segment)
        if known.done:
            self._known[segment] = known
        return known.done

    def set(self, segment: str, cursor: Cursor) -> None:
        """Keep a cursor."""
        if not self._known:
            self._folder.mkdir(parents=True, exist_ok=True)
        fresh = self._folder / f"{segment}.new"
        fresh.write_bytes(msgspec.json.encode(cursor))
        fresh.replace(self._folder / segment)
        self._known[segment] = cursor

    def forget(self, segment: str) -> None:
        """The segment is gone."""
        (self._folder / segment).unlink(missing_ok=True)
        self._known.pop(segment, None)

    def _read(self, segment: str) -> Cursor:
        try:
            return msgspec.json.decode((self._folder / segment).read_bytes(), type=Cursor)
        except (FileNotFoundError, msgspec.DecodeError):
            return Cursor()
