"""How hard a tool is pressed: waits with full jitter, and a circuit that opens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

FIRST_S: Final = 1.0
LONGEST_S: Final = 300.0
_MOST_DOUBLINGS: Final = 20

OPENS_AFTER: Final = 5
"""Failed rounds in a row after which the tool is left alone."""


def wait_s(tries: int, chance: Callable[[], float], asked_s: float | None = None) -> float:
    """Seconds to wait after so many tries, never less than asked for.

    Full jitter: anything between 0 and the doubled wait, so that senders that failed together do
    not come back together (Brooker, "Exponential Backoff and Jitter", AWS 2015). A wait that was
    asked for is kept and the jitter added, for the same reason.

    >>> wait_s(1, lambda: 0.5), wait_s(3, lambda: 0.5), wait_s(3, lambda: 0.5, 30.0)
    (0.5, 2.0, 32.0)
    """
    longest = min(FIRST_S * 2.0 ** min(tries - 1, _MOST_DOUBLINGS), LONGEST_S)
    return (asked_s or 0.0) + longest * chance()


@dataclass
class Circuit:
    """Open after some failures in a row: nothing is sent, then one message to try."""

    monotonic: Callable[[], float]
    chance: Callable[[], float]
    _failures: int = 0
    _until: float = field(default=-float("inf"))

    def failed(self, asked_s: float | None = None) -> None:
        """Nothing got through; `asked_s` is how long the tool asked to be left alone."""
        self._failures += 1
        rounds_open = self._failures - OPENS_AFTER + 1
        if rounds_open > 0 or asked_s:
            pause = wait_s(max(rounds_open, 1), self.chance, asked_s)
            self._until = max(self._until, self.monotonic() + pause)

    def succeeded(self) -> None:
        """Something got through."""
        self._failures = 0
        self._until = -float("inf")

    def wait_s(self) -> float:
        """Seconds until something may be sent; 0.0 now."""
        return max(0.0, self._until - self.monotonic())

    @property
    def is_open(self) -> bool:
        """Whether nothing but a try may be sent."""
        return self._failures >= OPENS_AFTER
