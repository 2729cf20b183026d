"""Parts of a router's round that must not stop each other, each with a patience of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from feature_repo.errors import StoreUnavailable

FIRST_S: Final = 0.1
LONGEST_S: Final = 5.0
"""Between two tries of a part that does not get on."""

log = structlog.get_logger()


@dataclass
class Part:
    """Something that is done in each round."""

    name: str
    #: Does it; returns how much was done.
    work: Callable[[], int]
    #: Why it did not get on the last time.
    trouble: StoreUnavailable | None = None
    tries: int = 0
    #: `monotonic` before which it is not tried again.
    not_before: float = -float("inf")


@dataclass
class Turns:
    """Gives each part its turn."""

    parts: Sequence[Part]
    monotonic: Callable[[], float]
    #: Told of each part whether it is stopped, after each of its turns.
    told: Callable[[str, bool], None]

    def take(self) -> int:
        """One turn of each part that is not waiting; how much was done.

        Raises:
            StoreUnavailable: no part gets on. The caller waits, and then all are tried.
        """
        done = 0
        for part in self.parts:
            if self.monotonic() >= part.not_before:
                done += self._turn(part)
        troubles = [part.trouble for part in self.parts if part.trouble is not None]
        if len(troubles) == len(self.parts):
            for part in self.parts:
                part.not_before = -float("inf")
            raise troubles[-1]
        return done

    def _turn(self, part: Part) -> int:
        try:
            done = part.work()
        except StoreUnavailable as exc:
            part.tries += 1
            part.trouble = exc
            wait_s = min(FIRST_S * 2 ** min(part.tries - 1, 10), LONGEST_S)
            part.not_before = self.monotonic() + wait_s
            if part.tries & (part.tries - 1) == 0:  # the 1st, 2nd, 4th, 8th ... time
                log.warning("part_stopped", part=part.name, tries=part.tries, problem=str(exc))
            done = 0
        else:
            part.trouble = None
            part.tries = 0
        self.told(part.name, part.trouble is not None)
        return done
