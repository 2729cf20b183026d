"""The way of one raw segment into the queue, and back when the queue forgets.

A queue may lose what it confirmed (see `stream.port`), so a segment is not finished when it is
published but when everything of it has left the queue on the other side. Until then the mark that
travels with the messages is compared now and then, and when the queue does not hold it any more,
the segment goes back to the mark that it holds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

import msgspec
import structlog

from feature_repo.ingest.raw.cursors import START, Cursors
from feature_repo.stream.port import MarkMoved, Publisher

_MARGIN_S: Final = 2.0
"""The queue's clock and ours need not run evenly."""

log = structlog.get_logger()


class Outlet:
    """Publishes one segment and keeps its cursor. Used by one thread."""

    def __init__(self, segment: str, publisher: Publisher, cursors: Cursors, *, now: float) -> None:
        self.segment = segment
        #: Whether the segment has ended and is published to its end.
        self.is_drained = False
        self._publisher = publisher
        self._cursors = cursors
        #: Offsets, each with a time when everything before it was published.
        self._points: deque[tuple[float, int]] = deque([(now, self.offset)])

    @property
    def offset(self) -> int:
        """Offset of the first record that is not published."""
        return self._cursors.get(self.segment).offset

    def publish(self, bodies: Sequence[bytes], offset: int) -> None:
        """Put messages into the queue; the next record has this offset.

        Raises:
            StoreUnavailable: the queue does not have them.
        """
        try:
            self._publisher.publish(bodies, mark=str(offset), after=_mark(self.offset))
        except MarkMoved as moved:
            self._go_back(moved.held)
        else:
            self._move(offset)

    def check(self) -> None:
        """Go back if the queue has forgotten something.

        Raises:
            StoreUnavailable: the queue does not answer.
        """
        try:
            self._publisher.check(after=_mark(self.offset))
        except MarkMoved as moved:
            self._go_back(moved.held)

    def settle(self, oldest_age_s: float, now: float) -> bool:
        """Whether all of the segment has left the queue, whose oldest message is this old.

        The age is asked for before `check`, or an emptied queue would pass for a finished one.
        """
        cursor = self._cursors.get(self.segment)
        settled = cursor.settled
        while self._points and self._points[0][0] < now - oldest_age_s - _MARGIN_S:
            settled = max(settled, self._points.popleft()[1])
        if not self._points or self._points[-1][1] != cursor.offset:
            self._points.append((now, cursor.offset))
        if settled != cursor.settled:
            cursor = msgspec.structs.replace(cursor, settled=settled)
            self._cursors.set(self.segment, cursor)
        return self.is_drained and settled == cursor.offset

    def finish(self) -> None:
        """Nobody needs to look at the segment again."""
        self._publisher.remark(None)
        cursor = self._cursors.get(self.segment)
        self._cursors.set(self.segment, msgspec.structs.replace(cursor, done=True))

    def close(self) -> None:
        """Release connections."""
        self._publisher.close()

    def _move(self, offset: int) -> None:
        cursor = self._cursors.get(self.segment)
        self._cursors.set(self.segment, msgspec.structs.replace(cursor, offset=offset))

    def _go_back(self, held: str | None) -> None:
        cursor = self._cursors.get(self.segment)
        before = cursor.offset
        if held is not None and held.isdecimal():
            after = int(held)
        else:
            after = cursor.settled
            self._publisher.remark(_mark(after))
        # Ahead of us when a publish got through whose confirmation did not: nothing is missing.
        log.warning("queue_holds_other_mark", segment=self.segment, ours=before, goes_on=after)
        self._points.clear()
        self.is_drained = False
        self._move(after)


def _mark(offset: int) -> str | None:
    return None if offset <= START else str(offset)
