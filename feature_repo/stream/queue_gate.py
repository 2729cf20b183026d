"""Back-pressure: refuse messages before the queue endangers what it holds."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from feature_repo.errors import QueueFull

OPEN_AGAIN: Final = 0.9
"""A gate that closed at 1.0 opens here, so that it does not flutter."""

LOOK_EVERY_S: Final = 0.25

LOOK_EVERY_BYTES: Final = 8 * 1024 * 1024


class Gate:
    """Lets messages in until the queue is full, and again once it has room."""

    def __init__(
        self, fullness: Callable[[], float], *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._fullness = fullness
        self._monotonic = monotonic
        self._looked_at = -float("inf")
        self._admitted = 0
        self._closed = False
        self._last = 0.0

    def admit(self, size: int) -> None:
        """Return when `size` bytes may go in. Asks the queue now and then, not each time.

        Raises:
            QueueFull: they may not.
        """
        now = self._monotonic()
        if now - self._looked_at >= LOOK_EVERY_S or self._admitted >= LOOK_EVERY_BYTES:
            self._last = self._fullness()
            self._looked_at, self._admitted = now, 0
            self._closed = self._last >= (OPEN_AGAIN if self._closed else 1.0)
        if self._closed:
            raise QueueFull(full_message(f"is {self._last:.0%} full"))
        self._admitted += size


def full_message(state: str) -> str:
    """What to tell about a queue that takes no more."""
    return (
        f"The queue {state}: it takes messages again once its consumers have caught up. "
        "`foresend queue status` shows who is behind; docs/runbooks/queue.md says what to do."
    )
