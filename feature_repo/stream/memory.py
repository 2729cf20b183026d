"""The queue in memory of one process, for tests and for trying things out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import count

from feature_repo.errors import QueueFull
from feature_repo.stream.port import (
    EVENTS,
    INGEST,
    Backlog,
    DeadLetter,
    Delivery,
    MarkMoved,
    Stream,
)


@dataclass
class _Group:
    """What one group did so far."""

    #: Messages seen as often as this, by id.
    deliveries: dict[str, int] = field(default_factory=dict)
    #: Who has what.
    holders: dict[str, str] = field(default_factory=dict)
    acknowledged: set[str] = field(default_factory=set)


class MemoryQueue:
    """See `port.Queue`. A consumer that is closed hands over what it did not acknowledge."""

    def __init__(
        self,
        *,
        most_messages: int = 10_000,
        clock: Callable[[], datetime] | None = None,
        stream: Stream = EVENTS,
    ) -> None:
        self.most_messages = most_messages
        self.clock = clock or (lambda: datetime.now(UTC))
        #: In their order; `only` of a message is the one group it is for, or None.
        self.messages: dict[str, tuple[Delivery, str | None]] = {}
        self.groups = {name: _Group() for name in stream.groups}
        self.marks: dict[str, str] = {}
        self._letters: dict[str, DeadLetter] = {}
        self._ids = map(str, count(1))

    def publisher(self, name: str = INGEST) -> MemoryPublisher:
        """A way in."""
        return MemoryPublisher(self, name)

    def consumer(self, group: str, name: str) -> MemoryConsumer:
        """A member of a group."""
        return MemoryConsumer(self, group, name)

    def add(self, body: bytes, only: str | None = None) -> str:
        """Append a message; returns its id."""
        new = next(self._ids)
        delivery = Delivery(id=new, body=body, deliveries=0, published_at=self.clock())
        self.messages[new] = (delivery, only)
        return new

    def forget(self, mark: str | None, *, publisher: str = INGEST) -> None:
        """Do as Redis does that lost its last second: nothing is there, and an older mark."""
        self.messages.clear()
        self.marks.pop(publisher, None)
        if mark is not None:
            self.marks[publisher] = mark

    def unfinished(self, group: str) -> list[Delivery]:
        """Messages the group has not acknowledged."""
        done = self.groups[group].acknowledged
        return [
            delivery
            for delivery, only in self.messages.values()
            if only in {None, group} and delivery.id not in done
        ]

    def backlog(self, group: str) -> Backlog:
        """How far a group is behind."""
        left = self.unfinished(group)
        oldest = min((delivery.published_at for delivery in left), default=None)
        return Backlog(
            messages=len(left),
            oldest_age_s=0.0 if oldest is None else (self.clock() - oldest).total_seconds(),
            pending=len(self.groups[group].holders),
        )

    def fullness(self) -> float:
        """Messages to their limit."""
        return len(self.messages) / self.most_messages

    def trim(self) -> int:
        """Drop what every group has acknowledged."""
        needed = {delivery.id for group in self.groups for delivery in self.unfinished(group)}
        finished = [entry for entry in self.messages if entry not in needed]
        for entry in finished:
            del self.messages[entry]
        return len(finished)

    def cut(self) -> int:
        """Nothing: a full queue refuses."""
        return 0

    def bury(self, body: bytes, *, group: str, reason: str) -> None:
        """Keep a dead letter."""
        new = next(self._ids)
        self._letters[new] = DeadLetter(
            id=new, group=group, body=body, reason=reason, buried_at=self.clock()
        )

    def dead(self, limit: int = 100) -> list[DeadLetter]:
        """Dead letters, oldest first."""
        return list(self._letters.values())[:limit]

    def revive(self, ids: Sequence[str]) -> int:
        """Publish the letters to their group alone."""
        found = [self._letters.pop(entry) for entry in ids if entry in self._letters]
        for letter in found:
            self.add(letter.body, only=letter.group)
        return len(found)

    def discard(self, ids: Sequence[str]) -> int:
        """Forget the letters."""
        return sum(self._letters.pop(entry, None) is not None for entry in ids)

    def ping(self) -> None:
        """Always answers."""

    def close(self) -> None:
        """Nothing is held."""


class MemoryPublisher:
    """See `port.Publisher`."""

    def __init__(self, queue: MemoryQueue, name: str) -> None:
        self._queue = queue
        self._name = name
        self._marks: list[tuple[int, str]] = []

    def publish(
        self,
        bodies: Sequence[bytes],
        *,
        mark: str | None = None,
        after: str | None = None,
        keys: Sequence[str] = (),
    ) -> None:
        """Append the bodies."""
        if bodies and self._queue.fullness() >= 1.0:
            message = f"The queue in memory holds {self._queue.most_messages} messages."
            raise QueueFull(message)
        if mark is not None:
            self.check(after=after)
        for body in bodies:
            new = self._queue.add(body)
            if mark is not None:
                self._marks.append((int(new), mark))
        if mark is not None:
            self._queue.marks[self._name] = mark

    def check(self, *, after: str | None) -> None:
        """Compare the mark."""
        held = self._queue.marks.get(self._name)
        if held != after:
            message = f"The queue holds mark {held!r} of {self._name!r}, not {after!r}."
            raise MarkMoved(message, held)

    def remark(self, mark: str | None) -> None:
        """Set the mark."""
        self._marks.clear()
        self._queue.marks.pop(self._name, None)
        if mark is not None:
            self._queue.marks[self._name] = mark

    def settled(self) -> str | None:
        """Newest mark that every group is past."""
        left = [int(d.id) for group in self._queue.groups for d in self._queue.unfinished(group)]
        floor = min(left, default=None)
        open_marks = {mark for new, mark in self._marks if floor is not None and new >= floor}
        past = [mark for _, mark in self._marks if mark not in open_marks]
        return past[-1] if past else None

    def close(self) -> None:
        """Nothing is held."""


class MemoryConsumer:
    """See `port.Consumer`."""

    def __init__(self, queue: MemoryQueue, group: str, name: str) -> None:
        self._queue = queue
        self._group = group
        self._name = name

    def take(self, limit: int, wait_s: float) -> list[Delivery]:
        """Messages nobody holds; never waits."""
        state = self._queue.groups[self._group]
        free = [d for d in self._queue.unfinished(self._group) if d.id not in state.holders]
        taken = []
        for delivery in free[:limit]:
            state.holders[delivery.id] = self._name
            times = state.deliveries[delivery.id] = state.deliveries.get(delivery.id, 0) + 1
            taken.append(replace(delivery, deliveries=times))
        return taken

    def ack(self, ids: Sequence[str]) -> None:
        """Take the messages off the list."""
        state = self._queue.groups[self._group]
        for entry in ids:
            state.acknowledged.add(entry)
            state.holders.pop(entry, None)

    def keep(self, ids: Sequence[str]) -> None:
        """Nobody takes them here."""

    def close(self) -> None:
        """Hand over what was not acknowledged, as after a death."""
        state = self._queue.groups[self._group]
        for entry in [entry for entry, holder in state.holders.items() if holder == self._name]:
            del state.holders[entry]
