"""The queue as the rest of the project sees it; Redis Streams and Kafka implement it.

Delivery is at least once: a message that was taken and not acknowledged comes again, to this
consumer or, when this one died, to another of the same group. Messages have no order that anyone
may rely on; effects are once because events have identities.

A queue may forget what it had confirmed: Redis writes its file once a second, so a power cut or a
failover costs the last second, and an operator may empty it. Whoever publishes from a store of his
own notices by *marks*. A mark is the publisher's position in that store; it goes into the queue in
one piece with the messages up to it, so the queue cannot forget one without the other:

* `publish(bodies, mark=new, after=old)` publishes only if the queue holds `old`;
* otherwise, and from `check(after=old)`, comes `MarkMoved` with the mark that is held: go on from
  there. It is behind when messages were forgotten, and ahead when a publish got through whose
  confirmation did not. It is None when the queue was emptied or is new;
* then go back to the last `settled()` mark, or to the beginning, and say so by `remark`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from feature_repo.errors import ForesendError

ARCHIVE: Final = "archive"
"""Consumer group that appends to the event log."""

ONLINE: Final = "online"
"""Consumer group that folds into the online store."""

GROUPS: Final = (ARCHIVE, ONLINE)


@dataclass(frozen=True, slots=True)
class Stream:
    """A kind of message: its name, and who must have seen one before it may go."""

    name: str
    #: Consumer groups that exist even before their first member came.
    groups: tuple[str, ...] = ()
    #: Seconds after which a message is of no use to anybody and goes, read or not; None: it stays
    #: until every group has acknowledged it. Such a stream, when full, drops its oldest.
    keep_s: float | None = None


EVENTS: Final = Stream("events", GROUPS)
"""What happened to customers, as envelopes of canonical events."""

INGEST: Final = "ingest"
"""The publisher that reads the raw store of this installation."""


class MarkMoved(ForesendError):
    """The queue holds another mark than the publisher's last one; nothing was published."""

    def __init__(self, message: str, held: str | None) -> None:
        super().__init__(message)
        self.held = held


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A message in the hands of a consumer."""

    #: Identity inside the queue; what `ack` needs.
    id: str
    #: What was published, for example what `envelope.pack` made.
    body: bytes
    #: How often it was handed out, this time included.
    deliveries: int
    #: When it was published.
    published_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """What a group has not finished."""

    messages: int
    #: Seconds since the oldest of them was published; 0.0 when there is none.
    oldest_age_s: float
    #: Handed out and not acknowledged.
    pending: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A message, or a part of one, that a group could not digest."""

    id: str
    group: str
    #: Envelope of the events concerned, or the bytes as they were when they are no envelope.
    body: bytes
    reason: str
    buried_at: datetime


class Publisher(Protocol):
    """Puts messages into the queue. Not shared between threads."""

    def publish(
        self,
        bodies: Sequence[bytes],
        *,
        mark: str | None = None,
        after: str | None = None,
        keys: Sequence[str] = (),
    ) -> None:
        """Return when the queue has all of them; with `mark`, keep it in one piece with them.

        With `keys`, one for each body, messages of one key go into one part of a queue that has
        parts, so that a reader gets them in the order in which they were published.

        Raises:
            StoreUnavailable: it has not; some may be there, and publishing again is right.
            QueueFull: publishing more would endanger what the queue holds.
            MarkMoved: a mark is given, and the queue does not hold `after`.
        """

    def check(self, *, after: str | None) -> None:
        """Return when nothing is missing up to this mark; one small request.

        Raises:
            StoreUnavailable: the queue does not answer.
            MarkMoved: the queue holds another mark.
        """

    def remark(self, mark: str | None) -> None:
        """Hold this mark, whatever was held: the publisher starts over from there."""

    def settled(self) -> str | None:
        """Newest mark of this process up to which every group has acknowledged everything.

        Where to go back to if the queue is emptied. None: not known. Costs the queue some
        requests, so ask every few seconds.
        """

    def close(self) -> None:
        """Release connections."""


class Consumer(Protocol):
    """One member of a group. Not shared between threads."""

    def take(self, limit: int, wait_s: float) -> list[Delivery]:
        """Up to `limit` messages, waiting up to `wait_s` for the first one.

        Messages that died consumers left unacknowledged come too, with their count of deliveries.

        Raises:
            StoreUnavailable: the queue does not answer.
        """

    def ack(self, ids: Sequence[str]) -> None:
        """These are finished and will not come again."""

    def keep(self, ids: Sequence[str]) -> None:
        """These are still being worked on: nobody else shall take this consumer for dead."""

    def close(self) -> None:
        """Leave the group; what was not acknowledged goes to others.

        Called while an error is on its way up, it leaves the count of deliveries as it is: a
        message that ends every process that has it must be noticed.
        """


class Queue(Protocol):
    """The queue of an installation."""

    def publisher(self, name: str = INGEST) -> Publisher:
        """A way in; marks are kept by name."""

    def consumer(self, group: str, name: str) -> Consumer:
        """A member of a group; `name` is unique among all processes.

        A group starts with the first message ever published, not with the time it was made.
        """

    def backlog(self, group: str) -> Backlog:
        """How far a group is behind."""

    def fullness(self) -> float:
        """How much of what the queue may take is taken; from 1.0 on `publish` refuses."""

    def trim(self) -> int:
        """Drop what every group has acknowledged; returns the number of messages dropped."""

    def cut(self) -> int:
        """Messages that this object dropped before every group had them, since it was last asked:
        a stream that keeps messages for a time drops its oldest rather than refuse new ones."""

    def bury(self, body: bytes, *, group: str, reason: str) -> None:
        """Keep a message for people to look at."""

    def dead(self, limit: int = 100) -> list[DeadLetter]:
        """Dead letters, oldest first."""

    def revive(self, ids: Sequence[str]) -> int:
        """Hand dead letters to their group once more; the number found."""

    def discard(self, ids: Sequence[str]) -> int:
        """Forget dead letters for good; the number found."""

    def ping(self) -> None:
        """Raises StoreUnavailable when the queue does not answer."""

    def close(self) -> None:
        """Release connections."""
