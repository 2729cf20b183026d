"""From a value in a payload to the value of an event field, by a declared cast; no guessing.

A cast is called with a value that is not None. It returns None for "as if it were not there" and
raises `Misfit` for what it cannot read.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from feature_repo.ingest.webhook.misfit import Misfit, shown

Cast = Callable[[Any], Any]

LONGEST_TEXT: Final = 4096
"""Characters that are kept of a text; the rest is in the raw store."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_SECOND: Final = 253_402_300_799
"""The end of the year 9999."""

_MILLISECONDS_FROM: Final = 100_000_000_000
"""As seconds this is the year 5138, as milliseconds it is 1973: no usable event is in doubt."""

_NUMBER: Final = re.compile(r"[+-]?\d{1,300}(\.\d{1,300})?([eE][+-]?\d{1,3})?")
_SPACED_OFFSET: Final = re.compile(r" (?=[+-]\d\d:?\d\d$)")


def text(value: Any) -> str | None:
    """A text without outer blanks; blank is None. Whole numbers become their digits.

    >>> text(" a "), text(17), text(17.0), text("")
    ('a', '17', '17', None)
    """
    if isinstance(value, str):
        return value.strip()[:LONGEST_TEXT] or None
    if isinstance(value, bool) or not isinstance(value, int | float):
        message = f"{shown(value)} is no text"
        raise Misfit("bad_text", message)
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        value = int(value)
    return str(value)


def first(value: Any) -> str | None:
    """The text, or the first one of an array of texts.

    >>> first(["promo", "x"]), first("promo"), first([])
    ('promo', 'promo', None)
    """
    if isinstance(value, list):
        return text(value[0]) if value and value[0] is not None else None
    return text(value)


def before_dot(value: Any) -> str | None:
    """The text before its first dot.

    >>> before_dot("wrfRRvF7Q0.filter0425.1")
    'wrfRRvF7Q0'
    """
    found = text(value)
    return None if found is None else found.partition(".")[0] or None


def unbracketed(value: Any) -> str | None:
    """A message id without the angle brackets some write around it.

    >>> unbracketed("<1@example.org>")
    '1@example.org'
    """
    found = text(value)
    return None if found is None else found.strip("<>") or None


def domain(value: Any) -> str | None:
    """The domain of an address, with or without a display name, in lower case.

    >>> domain("Shop <news@Mail.Example.com>"), domain("example.com")
    ('mail.example.com', 'example.com')
    """
    found = text(value)
    if found is None:
        return None
    return found.rpartition("@")[2].strip("<> ").lower() or None


def upper(value: Any) -> str | None:
    """The text in capitals, as currencies are.

    >>> upper("eur")
    'EUR'
    """
    found = text(value)
    return None if found is None else found.upper()


def number(value: Any) -> float | None:
    """A number, also as text with a decimal point.

    >>> number("12.50"), number(3), number("")
    (12.5, 3.0, None)
    """
    if isinstance(value, str):
        if not value.strip():
            return None
        if _NUMBER.fullmatch(value.strip()):
            return float(value)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        return float(value) if abs(value) < 10**300 else math.inf
    message = f"{shown(value)} is no number"
    raise Misfit("bad_number", message)


def absolute(value: Any) -> float | None:
    """A number without its sign: some sources write what a refund gives back as negative.

    >>> absolute(-5)
    5.0
    """
    found = number(value)
    return None if found is None else abs(found)


def whole(value: Any) -> int | None:
    """A whole number.

    >>> whole("60"), whole(-120.0)
    (60, -120)
    """
    found = number(value)
    if found is not None and not found.is_integer():
        message = f"{shown(value)} is no whole number"
        raise Misfit("bad_number", message)
    return None if found is None else int(found)


def epoch_s(value: Any) -> datetime | None:
    """Seconds since 1970 as a number or text, with or without a fraction.

    >>> epoch_s("1534109600").isoformat()
    '2018-08-12T21:33:20+00:00'
    """
    return _since_epoch(value, 1_000_000)


def epoch_ms(value: Any) -> datetime | None:
    """Milliseconds since 1970 as a number or text."""
    return _since_epoch(value, 1_000)


def epoch(value: Any) -> datetime | None:
    """Seconds or milliseconds since 1970, told apart by their size; for senders that mix them.

    >>> epoch(1604933654) == epoch(1604933654000)
    True
    """
    found = number(value)
    is_ms = found is not None and abs(found) >= _MILLISECONDS_FROM
    return _since_epoch(value, 1_000 if is_ms else 1_000_000)


def _since_epoch(value: Any, micros: int) -> datetime | None:
    exact = type(value) is int
    found = value if exact else number(value)
    if found is None:
        return None
    if not -_LAST_SECOND < found * micros / 1_000_000 < _LAST_SECOND:
        message = f"{shown(value)} is no time since 1970 in the declared unit"
        raise Misfit("bad_time", message)
    if exact and micros == 1_000_000:
        return datetime.fromtimestamp(found, UTC)
    return _EPOCH + timedelta(microseconds=round(found * micros))


def iso(value: Any) -> datetime | None:
    """A time by ISO 8601 with an offset; digits below a microsecond are cut off.

    >>> iso("2017-10-25T15:21:11.9065619Z").isoformat()
    '2017-10-25T15:21:11.906561+00:00'
    """
    found = _iso(value)
    if found is not None and found.tzinfo is None:
        message = f"{shown(value)} is a time without an offset from UTC"
        raise Misfit("bad_time", message)
    return None if found is None else _utc(found, value)


def iso_utc(value: Any) -> datetime | None:
    """As `iso`, and a time without an offset is in UTC."""
    return _local(value, UTC)


def local(zone: str) -> Cast:
    """A cast as `iso`, and a time without an offset is local time of the zone.

    >>> local("Europe/Paris")("2020-10-09 00:00:00").isoformat()
    '2020-10-08T22:00:00+00:00'
    """
    place = ZoneInfo(zone)
    return lambda value: _local(value, place)


def _local(value: Any, zone: ZoneInfo | Any) -> datetime | None:
    found = _iso(value)
    if found is not None and found.tzinfo is None:
        found = found.replace(tzinfo=zone)
    return None if found is None else _utc(found, value)


def _iso(value: Any) -> datetime | None:
    if isinstance(value, str):
        if not value.strip():
            return None
        try:
            return datetime.fromisoformat(_SPACED_OFFSET.sub("", value.strip()))
        except ValueError:
            pass
    message = f"{shown(value)} is no time by ISO 8601"
    raise Misfit("bad_time", message)


def _utc(found: datetime, value: Any) -> datetime:
    try:
        return found.astimezone(UTC)
    except OverflowError as exc:
        message = f"{shown(value)} is no time that can be"
        raise Misfit("bad_time", message) from exc


def pairs(value: Any) -> dict[str, Any] | None:
    """An object, also as JSON in a text or as `key:value|key:value`.

    >>> pairs('{"a": "1"}'), pairs("a:1|b:2"), pairs("free text")
    ({'a': '1'}, {'a': '1', 'b': '2'}, None)
    """
    if isinstance(value, dict):
        return value
    if not isinstance(value, str):
        return None
    if value.lstrip().startswith("{"):
        try:
            found = json.loads(value)
        except (ValueError, RecursionError):
            return None
        return found if isinstance(found, dict) else None
    split = (part.partition(":") for part in value.split("|") if ":" in part)
    return {key.strip(): inner.strip() for key, _, inner in split} or None


CASTS: Final[dict[str, Cast]] = {
    cast.__name__: cast
    for cast in (
        *(text, first, before_dot, unbracketed, domain, upper),
        *(number, absolute, whole),
        *(epoch_s, epoch_ms, epoch, iso, iso_utc),
        pairs,
    )
}
"""What a mapping may name."""

KINDS: Final = {
    "time": (epoch_s, epoch_ms, epoch, iso, iso_utc),
    "number": (number, absolute),
    "whole": (whole,),
    "object": (pairs,),
}
"""What a cast makes; all others make a text."""
