"""A member of a group on Redis Streams.

What it is given, in this order: what it was handed before a broken connection and does not hold,
what consumers left that died, then what is new.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from feature_repo.errors import StoreUnavailable
from feature_repo.stream.consumer_name import is_gone
from feature_repo.stream.port import Delivery
from feature_repo.stream.redis_streams_link import (
    FIRST_ID,
    Entry,
    Link,
    answers,
    entries,
    order,
    published_at,
)

LOOK_EVERY_S: Final = 2.0
"""Between two looks for messages of the dead."""

TIDY_EVERY_S: Final = 60.0


class RedisConsumer:
    """Reads the stream for a group; see `port.Consumer`."""

    def __init__(
        self,
        link: Link,
        group: str,
        name: str,
        *,
        gone: Callable[[str], bool] = is_gone,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._link = link
        self._group = group
        self._name = name
        self._gone = gone
        self._monotonic = monotonic
        #: Given out and not acknowledged. Redis offers these again when asked for what is pending.
        self._held: set[str] = set()
        #: Where to go on in what is pending under our name; None: all of that is held.
        self._own_from: str | None = FIRST_ID
        self._claim_from = FIRST_ID
        self._looked_at = self._tidied_at = -float("inf")

    def take(self, limit: int, wait_s: float) -> list[Delivery]:
        """Messages of this group; see `port.Consumer.take`."""
        try:
            with answers():
                taken = self._own(limit) or self._abandoned(limit) or self._fresh(limit, wait_s)
        except StoreUnavailable:
            # The reply may have been lost with messages in it.
            self._own_from = FIRST_ID
            raise
        self._held.update(delivery.id for delivery in taken)
        return taken

    def ack(self, ids: Sequence[str]) -> None:
        """Take the messages off the group's list."""
        if not ids:
            return
        with answers():
            self._link.client.xack(self._link.events, self._group, *ids)
        self._held.difference_update(ids)

    def keep(self, ids: Sequence[str]) -> None:
        """Start the messages' idle time anew, without counting a delivery."""
        if not ids:
            return
        with answers():
            self._call(
                lambda: self._link.client.xclaim(
                    self._link.events, self._group, self._name, 0, list(ids), justid=True
                )
            )

    def close(self) -> None:
        """Leave the group. What is left is for the next one at once, and counts as not handed
        out: whoever leaves in order did not die of it. Who leaves because of an error may have."""
        retrycount = None if _is_dying() else 0
        idle_ms = int(self._link.settings.claim_after_s * 1000)
        with answers():
            if self._held:
                self._call(
                    lambda: self._link.client.xclaim(
                        self._link.events,
                        self._group,
                        self._name,
                        0,
                        [*self._held],
                        idle=idle_ms,
                        retrycount=retrycount,
                        justid=True,
                    )
                )
            self._call(lambda: self._link.forget_consumer(self._group, self._name))

    def _own(self, limit: int) -> list[Delivery]:
        while self._own_from is not None:
            found = self._read(self._own_from, limit, None)
            self._own_from = found[-1].id if found else None
            taken = self._redelivered([entry for entry in found if entry.id not in self._held])
            if taken:
                return taken
        return []

    def _abandoned(self, limit: int) -> list[Delivery]:
        now = self._monotonic()
        if now - self._looked_at < min(LOOK_EVERY_S, self._link.settings.claim_after_s / 2):
            return []
        taken = self._of_the_gone(limit) or self._of_the_idle(limit)
        if not taken:
            self._looked_at = now
        return taken

    def _of_the_gone(self, limit: int) -> list[Delivery]:
        """Messages of processes of this machine that have ended: nobody need wait for those."""
        client, events, group = self._link.client, self._link.events, self._group
        consumers: Any = self._call(lambda: client.xinfo_consumers(events, group))
        self._tidy(consumers)
        for consumer in consumers:
            name = consumer["name"].decode()
            if not consumer["pending"] or name == self._name or not self._gone(name):
                continue
            rows: Any = client.xpending_range(events, group, "-", "+", limit, consumername=name)
            ids = [row["message_id"].decode() for row in rows]
            if not ids:
                continue
            found = entries(client.xclaim(events, group, self._name, 0, ids))
            # Redis 6.2 keeps entries pending that are not in the stream any more.
            self.ack([entry_id for entry_id in ids if entry_id not in {e.id for e in found}])
            if taken := self._redelivered(found):
                return taken
        return []

    def _of_the_idle(self, limit: int) -> list[Delivery]:
        idle_ms = int(self._link.settings.claim_after_s * 1000)
        reply: Any = self._call(
            lambda: self._link.client.xautoclaim(
                self._link.events, self._group, self._name, idle_ms, self._claim_from, limit
            )
        )
        self._claim_from = reply[0].decode()
        found = entries(reply[1])
        if len(found) < len(reply[1]):
            # Redis 6.2 hands over without an id what was deleted by hand. Asked for what is ours,
            # it tells the ids, and they can be taken off the list.
            self._own_from = FIRST_ID
        return self._redelivered(found)

    def _fresh(self, limit: int, wait_s: float) -> list[Delivery]:
        found = self._read(">", limit, wait_s)
        return self._deliveries(found, dict.fromkeys((entry.id for entry in found), 1))

    def _read(self, start: str, limit: int, wait_s: float | None) -> list[Entry]:
        block = None if wait_s is None or wait_s < 0.001 else int(wait_s * 1000)
        reply: Any = self._call(
            lambda: self._link.client.xreadgroup(
                self._group, self._name, {self._link.events: start}, count=limit, block=block
            )
        )
        return entries(reply[0][1]) if reply else []

    def _redelivered(self, found: Sequence[Entry]) -> list[Delivery]:
        if not found:
            return []
        ids = sorted((entry.id for entry in found), key=order)
        rows: Any = self._link.client.xpending_range(
            self._link.events, self._group, ids[0], ids[-1], 10 * len(ids), consumername=self._name
        )
        counts = {row["message_id"].decode(): int(row["times_delivered"]) for row in rows}
        return self._deliveries(found, counts)

    def _deliveries(self, found: Iterable[Entry], counts: dict[str, int]) -> list[Delivery]:
        """What this group has to do; the rest of the entries is none of its business."""
        taken, idle = [], []
        for entry in found:
            if entry.fields.get(b"g", self._group.encode()) != self._group.encode():
                idle.append(entry.id)  # revived for another group
            elif (body := entry.fields.get(b"b")) is None:
                idle.append(entry.id)  # deleted by hand
            else:
                taken.append(
                    Delivery(
                        id=entry.id,
                        body=body,
                        deliveries=counts.get(entry.id, 2),
                        published_at=published_at(entry.id),
                    )
                )
        self.ack(idle)
        return taken

    def _tidy(self, consumers: Sequence[Any]) -> None:
        """Remove consumers that have nothing and do not come back."""
        if self._monotonic() - self._tidied_at < TIDY_EVERY_S:
            return
        self._tidied_at = self._monotonic()
        for consumer in consumers:
            name = consumer["name"].decode()
            expired = consumer["idle"] > self._link.settings.forget_consumer_after_s * 1000
            if name != self._name and not consumer["pending"] and (expired or self._gone(name)):
                self._link.forget_consumer(self._group, name)

    def _call(self, call: Callable[[], Any]) -> Any:
        return self._link.in_group(self._group, call)


def _is_dying() -> bool:
    """Whether an error that a message may have caused is on its way up through the caller: it is
    inside a `finally`, or in what a `with` closes."""
    error = sys.exception()
    return isinstance(error, Exception) and not isinstance(error, StoreUnavailable)
