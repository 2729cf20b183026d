"""One placement reading, and what taking in a source's answer or file gives."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import Final

import pyarrow as pa

from feature_repo.deliverability.readings import READINGS
from feature_repo.errors import ConfigError
from feature_repo.ingest.webhook.redaction import PLACEHOLDER

_DOMAIN: Final = re.compile(
    r"(?=.{1,253}$)([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)+[a-z0-9][a-z0-9-]{1,62}"
)
# Cut-off ones too.
_LIKE_ADDRESS: Final = re.compile(r"[^\s'\"]*(?:@|%40)[^\s'\"]*")
_EARLIEST: Final = date(2000, 1, 1)


class Why(StrEnum):
    """Why something could not become a reading; what rejects are counted under."""

    BAD_DOMAIN = "bad_domain"  #: no domain, or none is named
    BAD_NUMBER = "bad_number"  #: no number that can be meant
    BAD_DAY = "bad_day"  #: no day
    BAD_TIME = "bad_time"  #: no time in the declared form
    IMPOSSIBLE_DAY = (
        "impossible_day"  #: a day in the future, or long before there was anything to measure
    )
    BAD_REPORT = "bad_report"  #: cannot be taken apart
    TOO_LARGE = "too_large"  #: more bytes than any honest report
    NOT_AGGREGATE = "not_aggregate"  #: another kind of DMARC report
    NOT_ARF = "not_arf"  #: a mail that is no feedback report
    NO_COMPLAINT = "no_complaint"  #: feedback of another kind
    UNKNOWN_METRIC = "unknown_metric"  #: a number that was not asked for
    BAD_BAND = "bad_band"  #: no complaint rate
    BAD_ROW = "bad_row"  #: not the cells of the form
    BAD_COLOUR = "bad_colour"  #: not GREEN, YELLOW or RED
    UNMAPPED_IP = "unmapped_ip"  #: belongs to no declared domain
    BROKEN_ROW = "broken_row"  #: more or fewer cells than the header
    NO_PROVIDER = "no_provider"  #: no mailbox provider is named
    UNKNOWN_PLACEMENT = "unknown_placement"  #: a word that the mapping does not have
    NO_COUNTS = "no_counts"  #: no counts per provider
    BAD_COMPLIANCE = "bad_compliance"  #: not the form of a compliance status
    UNVERIFIED = "unverified"  #: a domain that is not verified at the source
    REFUSED = "refused"  #: the source will not tell about it


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One number of one source; the fields are those of `readings.READINGS`."""

    sending_domain: str
    mailbox_provider: str
    day: date
    metric: str
    value: float | None
    part: str | None = None
    n: float | None = None


@dataclass(frozen=True, slots=True)
class Reject:
    """Something that could not become a reading. Holds no content of the source."""

    #: File and row, domain, or IP.
    where: str
    reason: Why
    detail: str


@dataclass(slots=True)
class Taken:
    """What a source's answer or a file gave."""

    readings: list[Reading] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    #: Seed mails that are still on their way, and the like: no readings yet, and no fault.
    pending: int = 0

    def add(self, other: Taken) -> None:
        """Take in what another part gave."""
        self.readings += other.readings
        self.rejects += other.rejects
        self.pending += other.pending


class Unusable(ValueError):
    """A row cannot become a reading; `reason` is the word it is counted under."""

    def __init__(self, reason: Why, detail: str) -> None:
        # A cell in the wrong column may hold an address.
        super().__init__(_LIKE_ADDRESS.sub(PLACEHOLDER, detail))
        self.reason = reason

    def at(self, where: str) -> Reject:
        """The reject that says where."""
        return Reject(where, self.reason, str(self))


def to_table(
    readings: Iterable[Reading],
    *,
    source: str,
    known_at: Callable[[date], datetime],
    raw_ref: str | None = None,
) -> pa.Table:
    """Rows for `Readings.append`; `known_at` tells of each day when its readings were held."""
    rows = [
        {
            "source": source,
            "sending_domain": one.sending_domain,
            "mailbox_provider": one.mailbox_provider,
            "day": one.day,
            "metric": one.metric,
            "part": one.part,
            "value": one.value,
            "n": one.n,
            "received_time": known_at(one.day),
            "raw_ref": raw_ref,
        }
        for one in readings
    ]
    return pa.Table.from_pylist(rows, schema=READINGS)


def domain(text: str) -> str:
    """A domain in the form of the readings: small letters, no dot at the end, punycode.

    >>> domain(" News.Example. "), domain("bücher.example")
    ('news.example', 'xn--bcher-kva.example')

    Raises:
        Unusable: it is no domain.
    """
    written = text.strip().rstrip(".").lower()
    try:
        plain = written if written.isascii() else written.encode("idna").decode()
    except UnicodeError:
        plain = ""
    if not _DOMAIN.fullmatch(plain):
        shown = "an address" if "@" in text else repr(text[:80])
        raise Unusable(Why.BAD_DOMAIN, f"{shown} is not a domain")
    return plain


def count(value: object) -> float:
    """A finite number, 0 or greater; text with a decimal point is understood.

    Raises:
        Unusable: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise Unusable(Why.BAD_NUMBER, f"{type(value).__name__} is not a number")
    try:
        found = float(value)
    except (ValueError, OverflowError):
        raise Unusable(Why.BAD_NUMBER, f"{str(value)[:40]!r} is not a number") from None
    if not math.isfinite(found) or found < 0:
        raise Unusable(Why.BAD_NUMBER, f"{found} is not a number from 0 on")
    return found


def plausible_day(day: date, today: date) -> date:
    """The day, if mail can have been sent then.

    Raises:
        Unusable: it is in the future, or long before there was anything to measure.
    """
    # A day ahead: sources that live in other time zones.
    if not _EARLIEST <= day <= today + timedelta(days=1):
        raise Unusable(Why.IMPOSSIBLE_DAY, f"mail cannot have been measured on {day}")
    return day


_DELAYED: Final = re.compile(r"day(?:\+(\d{1,5})([smhd]))?")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def parse_known_at(text: str, now: datetime) -> Callable[[date], datetime]:
    """When readings of a day were known: `now`, or `day+DELAY` after the day's first instant.

    >>> parse_known_at("day+26h", datetime(2026, 1, 1, tzinfo=UTC))(date(2025, 3, 1)).isoformat()
    '2025-03-02T02:00:00+00:00'

    Raises:
        ConfigError: it is neither.
    """
    word = text.strip().replace(" ", "")
    if word == "now":
        return lambda day: now
    match = _DELAYED.fullmatch(word)
    if match is None:
        message = (
            f"--known-at {text!r} is not understood. Use now, or day+DELAY for history, "
            "with a delay such as 12h or 2d."
        )
        raise ConfigError(message)
    number, unit = match.groups(default="0")
    delay = timedelta() if unit == "0" else timedelta(**{_UNITS[unit]: int(number)})
    # Nothing is known before it is: history that reaches to today is known now at the latest.
    return lambda day: min(now, datetime.combine(day, time(), UTC) + delay)
