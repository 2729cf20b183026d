"""What a customer's state remembers of single events, as bytes that know no order of arrival.

`recent` holds the newest rows about a customer, sorted: 8 bytes event time, 8 of the event_id's
hash, 8 of the content's. The content's hash covers the event_id, so it alone names a row.
`waiting` holds content hashes only, of rows that could not be folded and that the log must show.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterable
from typing import Final

KEEP: Final = 64
"""Rows remembered per customer. A redelivered row is recognised as long as it is among them."""

KEY_BYTES: Final = 8

_RECORD: Final = 3 * KEY_BYTES
_BIAS: Final = 2**63  # times as unsigned numbers sort like bytes


def record(time_us: int, event_key: bytes, content_key: bytes) -> bytes:
    """One row as `recent` holds it."""
    return (time_us + _BIAS).to_bytes(KEY_BYTES, "big") + event_key + content_key


def remember(recent: bytes, row: bytes) -> tuple[bytes, int | None]:
    """`recent` with one more row, and the time of the one that had to go for it, if any."""
    if recent[-_RECORD:] <= row:
        recent += row
    else:
        rows = _split(recent)
        rows.insert(bisect(rows, row), row)
        recent = b"".join(rows)
    if len(recent) <= KEEP * _RECORD:
        return recent, None
    return recent[_RECORD:], _time(recent)


def remembered(rows: Iterable[bytes]) -> tuple[bytes, int | None]:
    """`recent` of all these rows, and the newest time among those that are not in it."""
    newest_last = sorted(rows)
    left = newest_last[:-KEEP]
    return b"".join(newest_last[-KEEP:]), _time(left[-1]) if left else None


def holds_row(recent: bytes, content_key: bytes) -> bool:
    """Whether a row is remembered."""
    return _aligned(recent, content_key, 2 * KEY_BYTES, _RECORD)


def holds_event(recent: bytes, event_key: bytes) -> bool:
    """Whether any row of an event is remembered."""
    return _aligned(recent, event_key, KEY_BYTES, _RECORD)


def holds(waiting: bytes, content_key: bytes) -> bool:
    """Whether a row is waited for."""
    return _aligned(waiting, content_key, 0, KEY_BYTES)


def content_keys(recent: bytes, waiting: bytes) -> set[bytes]:
    """The rows of both."""
    keys = {recent[at : at + KEY_BYTES] for at in range(2 * KEY_BYTES, len(recent), _RECORD)}
    keys.update(waiting[at : at + KEY_BYTES] for at in range(0, len(waiting), KEY_BYTES))
    return keys


def _aligned(data: bytes, key: bytes, offset: int, width: int) -> bool:
    at = data.find(key)
    while at >= 0 and at % width != offset:
        at = data.find(key, at + 1)
    return at >= 0


def _split(recent: bytes) -> list[bytes]:
    return [recent[at : at + _RECORD] for at in range(0, len(recent), _RECORD)]


def _time(row: bytes) -> int:
    return int.from_bytes(row[:KEY_BYTES], "big") - _BIAS
