"""What an event says, as bytes: the Python twin of the log's SQL, for events one by one.

Two events with equal content are one row of the log. `content_hash` gives what `EventLog.append`
stores in the column of that name; a property test holds the two together.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Final

from feature_repo.event import CONTENT_FIELDS, MICROS, Event

ID_BYTES: Final = 12
"""Bytes of an event_id's hash. A billion events meet by chance once in 10^11 installations."""

CONTENT_BYTES: Final = 8
"""Bytes of the content's hash that follow: they only have to differ among rows of one event_id."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def content_hash(event: Event) -> str:
    """Thirty-two hexadecimal digits, equal for events that say the same.

    Raises:
        ValueError: a number is not finite.
    """
    parts = []
    for value, render in zip(_values(event), _RENDER, strict=True):
        if value is None:
            parts.append("-:")
        else:
            text = value if render is None else render(value)
            parts.append(f"{len(text)}:{text}")
    return hashlib.md5("".join(parts).encode(), usedforsecurity=False).hexdigest()


def id_key(event_id: str) -> bytes:
    """The ID_BYTES an event is found by."""
    return hashlib.md5(event_id.encode(), usedforsecurity=False).digest()[:ID_BYTES]


def row_key(event_id: str, content: str) -> bytes:
    """The key of a row: that of its event, then a part of its content's hash."""
    return id_key(event_id) + bytes.fromhex(content[: 2 * CONTENT_BYTES])


def micros(time: datetime) -> int:
    """Microseconds since the Unix epoch, exactly."""
    return (time - _EPOCH) // _MICROSECOND


def _millionths(value: float) -> str:
    """As DuckDB rounds: half away from zero, on the product as a double."""
    scaled = float(value) * MICROS
    whole = math.floor(abs(scaled))
    if abs(scaled) - whole >= 0.5:
        whole += 1
    return str(-whole if scaled < 0 else whole)


def _renderer(name: str) -> Callable[[object], str] | None:
    if name == "event_time":
        return lambda value: str(micros(value))  # type: ignore[arg-type] # a datetime, by Event
    if name in {"amount", "machine_score"}:
        return _millionths  # type: ignore[return-value] # takes the float that Event declares
    return str if name == "utc_offset_minutes" else None


_values: Final = attrgetter(*CONTENT_FIELDS)
_RENDER: Final = tuple(map(_renderer, CONTENT_FIELDS))
