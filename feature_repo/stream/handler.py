"""What a consumer group does with events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from feature_repo.event import Event


class Handler(Protocol):
    """Effects of one group. Called by one thread, with events in no particular order."""

    def handle(self, events: Sequence[Event]) -> None:
        """Return when all effects are durable. Seeing an event again changes nothing.

        Raises:
            StoreUnavailable: try again later; nothing is wrong with the events.
            Exception: anything else is blamed on one of the events. The worker finds out which
                one, tries it a few times, and buries it alone.
        """
