"""When we say we knew: the declaration that gives imported rows their received_time."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Final

from feature_repo.errors import ConfigError

_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_DELAYED: Final = re.compile(r"event_time(?:\+(\d{1,6})([smhd]))?")


class KnownFrom(StrEnum):
    """Where a row's received_time comes from."""

    COLUMN = "received_time"  #: the file says when each row was first held
    NOW = "now"  #: the rows are first held by this import
    EVENT_TIME = "event_time"  #: declared history: a fixed delay after the event


@dataclass(frozen=True, slots=True)
class KnownAt:
    """A declared knowledge time; `delay` counts for EVENT_TIME alone."""

    source: KnownFrom
    delay: timedelta = timedelta(0)

    @property
    def is_declared(self) -> bool:
        """Whether rows become `backfilled`: nobody observed when they arrived."""
        return self.source is KnownFrom.EVENT_TIME


def parse_known_at(text: str) -> KnownAt:
    """Read `received_time`, `now`, `event_time` or `event_time+DELAY` (30s, 15m, 2h, 1d).

    >>> parse_known_at("event_time+2h").delay
    datetime.timedelta(seconds=7200)
    """
    word = text.strip().replace(" ", "")
    if word in {KnownFrom.COLUMN, KnownFrom.NOW}:
        return KnownAt(KnownFrom(word))
    match = _DELAYED.fullmatch(word)
    if match is None:
        message = (
            f"--known-at {text!r} is not understood. Use received_time, now, or event_time+DELAY "
            "with a delay such as 0s, 30m, 2h or 1d."
        )
        raise ConfigError(message)
    number, unit = match.groups(default="0")
    delay = timedelta() if unit == "0" else timedelta(**{_UNITS[unit]: int(number)})
    return KnownAt(KnownFrom.EVENT_TIME, delay)
