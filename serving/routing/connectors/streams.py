"""Streams of an installation's queue as the source of a connector, which is a group of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from feature_repo.stream.port import Backlog, Queue
from serving.routing.connectors.port import Taken

PREFIX: Final = "connector-"


def group_of(connector: str) -> str:
    """The consumer group of a connector.

    >>> group_of("crm")
    'connector-crm'
    """
    return PREFIX + connector


class StreamSource:
    """Takes from several streams in turn; ids tell which."""

    def __init__(self, queues: Sequence[Queue], connector: str, member: str) -> None:
        self._queues = queues
        self._group = group_of(connector)
        self._consumers = [queue.consumer(self._group, member) for queue in queues]
        self._next = 0

    def take(self, limit: int, wait_s: float) -> list[Taken]:
        """From each stream, beginning with another one each time."""
        taken: list[Taken] = []
        count = len(self._consumers)
        self._next = (self._next + 1) % count
        for turn in range(count):
            place = (self._next + turn) % count
            wait = 0.0 if taken else wait_s / count
            if len(taken) < limit:
                found = self._consumers[place].take(limit - len(taken), wait)
                taken += [
                    Taken(
                        id=f"{place}:{one.id}",
                        body=one.body,
                        deliveries=one.deliveries,
                        published_at=one.published_at,
                    )
                    for one in found
                ]
        return taken

    def ack(self, ids: Sequence[str]) -> None:
        """Acknowledge in each stream."""
        for place, part in self._parts(ids).items():
            self._consumers[place].ack(part)

    def keep(self, ids: Sequence[str]) -> None:
        """Keep in each stream."""
        for place, part in self._parts(ids).items():
            self._consumers[place].keep(part)

    def bury(self, taken: Taken, reason: str) -> None:
        """Put into the dead letters of the stream it is from."""
        place = int(taken.id.partition(":")[0])
        self._queues[place].bury(taken.body, group=self._group, reason=reason)

    def backlog(self) -> Backlog:
        """Of all streams together."""
        all_of_them = [queue.backlog(self._group) for queue in self._queues]
        return Backlog(
            messages=sum(one.messages for one in all_of_them),
            oldest_age_s=max(one.oldest_age_s for one in all_of_them),
            pending=sum(one.pending for one in all_of_them),
        )

    def close(self) -> None:
        """Leave the groups."""
        for consumer in self._consumers:
            consumer.close()

    def _parts(self, ids: Sequence[str]) -> dict[int, list[str]]:
        parts: dict[int, list[str]] = {}
        for one in ids:
            place, _, inner = one.partition(":")
            parts.setdefault(int(place), []).append(inner)
        return parts
