"""How a worker gathers messages, and how many it dares to take."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from feature_repo.errors import StoreUnavailable
from feature_repo.stream import envelope
from feature_repo.stream.port import ONLINE, Consumer, Delivery
from feature_repo.stream.settings import QueueSettings

WAIT_S: Final = 1.0
"""For the first message; also how long a stop may go unnoticed."""

SUSPECT_FROM: Final = 3
"""Deliveries. Twice may be a restart; from here on somebody died of one of these messages."""


MOST_MESSAGES: Final = 256
"""Of one take, however small they are."""

EVENT_BYTES: Final = 300
"""A canonical event is seldom shorter, so sizes bound how many events there are."""


@dataclass(frozen=True, slots=True)
class Batching:
    """Bounds of a batch; it ends with the message that passes `most_events`."""

    most_events: int
    linger_s: float


def batching(settings: QueueSettings, group: str) -> Batching:
    """Bounds of a group's batches."""
    if group == ONLINE:
        return Batching(settings.online_events, settings.online_linger_s)
    return Batching(settings.archive_events, settings.archive_linger_s)


class Intake:
    """Takes messages, carefully after a start and while suspect ones come.

    The first take is of one message and each next one of twice as many. A message that kills the
    process is therefore soon taken alone, and the count of deliveries that condemns it does not
    grow for its neighbours.
    """

    def __init__(
        self,
        consumer: Consumer,
        bounds: Batching,
        *,
        wait_s: float = WAIT_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._consumer = consumer
        self._bounds = bounds
        self._wait_s = wait_s
        self._monotonic = monotonic
        self._dare = 1
        #: Events of the average message of late, from above.
        self._average = float(envelope.MOST_EVENTS)

    def gather(self) -> list[Delivery]:
        """Messages for one batch; empty when none came in time.

        Raises:
            StoreUnavailable: the queue does not answer, and nothing was taken.
        """
        found = self._consumer.take(self._limit([]), self._wait_s)
        if not found:
            return []
        until = self._monotonic() + self._bounds.linger_s
        while (limit := self._limit(found)) > 0:
            left = until - self._monotonic()
            try:
                more = self._consumer.take(limit, max(0.0, left))
            except StoreUnavailable:
                break  # handle what we have; the next take will say it again
            found += more
            if not more and self._monotonic() >= until:
                break
        self._learn(found)
        return found

    def _limit(self, found: Sequence[Delivery]) -> int:
        """Messages that may be taken on top of these."""
        room = self._bounds.most_events - _events(found)
        if room <= 0:
            return 0
        fitting = max(1, int(room / self._average))
        return min(fitting, MOST_MESSAGES, self._dare - len(found))

    def _learn(self, found: Sequence[Delivery]) -> None:
        suspect = any(delivery.deliveries >= SUSPECT_FROM for delivery in found)
        self._dare = 1 if suspect else min(self._dare * 2, self._bounds.most_events)
        self._average = max(1.0, _events(found) / len(found))


def _events(found: Sequence[Delivery]) -> int:
    """Events of these messages, from above."""
    return sum(
        min(envelope.MOST_EVENTS, 1 + envelope.size(delivery.body) // EVENT_BYTES)
        for delivery in found
    )
