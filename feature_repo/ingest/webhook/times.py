"""From a value in a payload to a time in UTC, in the declared unit and form; no guessing."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, Final
from zoneinfo import ZoneInfo

from feature_repo.ingest.webhook.misfit import Misfit, shown
from feature_repo.ingest.webhook.values import number

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_SECOND: Final = 253_402_300_799
"""The end of the year 9999."""

_MILLISECONDS_FROM: Final = 100_000_000_000
"""As seconds this is the year 5138, as milliseconds it is 1973: no usable event is in doubt."""

_SPACED_OFFSET: Final = re.compile(r" (?=[+-]\d\d:?\d\d$)")


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
    found = _seconds(value)
    is_ms = found is not None and abs(found) >= _MILLISECONDS_FROM
    return _since_epoch(value, 1_000 if is_ms else 1_000_000)


def _since_epoch(value: Any, micros: int) -> datetime | None:
    found = _seconds(value)
    if found is None:
        return None
    if not -_LAST_SECOND < found * micros / 1_000_000 < _LAST_SECOND:
        message = f"{shown(value)} is no time since 1970 in the declared unit"
        raise Misfit(message, "bad_time")
    if type(found) is int and micros == 1_000_000:
        return datetime.fromtimestamp(found, UTC)
    return _EPOCH + timedelta(microseconds=round(found * micros))


def _seconds(value: Any) -> int | float | None:
    if type(value) is int:
        return value
    try:
        return number(value)
    except Misfit as misfit:
        message = f"{misfit.detail} and so no time since 1970"
        raise Misfit(message, "bad_time") from misfit


def iso(value: Any) -> datetime | None:
    """A time by ISO 8601 with an offset; digits below a microsecond are cut off.

    >>> iso("2017-10-25T15:21:11.9065619Z").isoformat()
    '2017-10-25T15:21:11.906561+00:00'
    """
    found = _iso(value)
    if found is not None and found.tzinfo is None:
        message = f"{shown(value)} is a time without an offset from UTC"
        raise Misfit(message, "bad_time")
    return None if found is None else _utc(found, value)


def iso_utc(value: Any) -> datetime | None:
    """As `iso`, and a time without an offset is in UTC."""
    return _local(value, UTC)


def local(zone: str) -> Callable[[Any], datetime | None]:
    """A cast as `iso`, and a time without an offset is local time of the zone.

    >>> local("Europe/Paris")("2020-10-09 00:00:00").isoformat()
    '2020-10-08T22:00:00+00:00'
    """
    place = ZoneInfo(zone)
    return lambda value: _local(value, place)


def _local(value: Any, zone: tzinfo) -> datetime | None:
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
    raise Misfit(message, "bad_time")


def _utc(found: datetime, value: Any) -> datetime:
    try:
        return found.astimezone(UTC)
    except OverflowError as exc:
        message = f"{shown(value)} is no time that can be"
        raise Misfit(message, "bad_time") from exc
