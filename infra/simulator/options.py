"""What a simulated programme is: its size, its time, and what goes wrong in it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from feature_repo.errors import ConfigError

PROVIDERS: Final = ("google", "microsoft", "yahoo", "apple", "other")
"""Families that run the customers' mailboxes."""

DOMAINS: Final = ("news.shop.example", "offers.shop.example")
"""Sending domains of the programme."""

MAIL_SERVICES: Final = (
    "sendgrid", "ses", "mailgun", "postmark", "mautic", "brevo", "sparkpost", "mandrill",
    "customerio", "klaviyo",
)  # fmt: skip
"""Services that can send the programme's mail, by the names of their ingest endpoints."""

PLACEMENTS: Final = ("usual", "perfect")
"""Inbox rates away from collapses: wandering around the usual ones, or all mail in the inbox."""

MOST_CUSTOMERS: Final = 1_000_000
MOST_DAYS: Final = 3650


@dataclass(frozen=True, slots=True, kw_only=True)
class Collapse:
    """Days on which a mailbox provider puts nearly all mail of a sending domain into spam."""

    provider: str
    #: None: every sending domain.
    domain: str | None
    first_day: int
    days: int
    #: Share that still reaches the inbox.
    inbox: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FormatChange:
    """From a day on, a service's payloads look different."""

    service: str
    day: int
    #: rename | retype | drop | add
    action: str
    path: str
    #: New name, type (text, number, iso, epoch_ms), or value.
    value: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """A programme. The same options give the same bytes."""

    customers: int = 1000
    #: Days that are simulated from `start` on.
    days: int = 90
    #: Midnight UTC of day 0.
    start: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    seed: int = 1
    #: Messages per customer and week, on average.
    sends_per_week: float = 2.0
    #: Services that send the mail, one after the other by campaign.
    services: tuple[str, ...] = ("sendgrid",)
    #: Lag from event to arrival: median, and the share that comes days later, at most so many.
    late_median_s: float = 120.0
    late_share: float = 0.01
    late_days: float = 5.0
    #: Share of events that arrive twice.
    duplicates: float = 0.005
    #: Mail Privacy Protection, proxies and scanners; off: only people open and click.
    machines: bool = True
    #: Label corrections a minute after arrival, as the sweep of a running installation makes them.
    swept: bool = True
    #: Days whose purchases and opens were wrong, and were put right three days later.
    corrected_days: tuple[int, ...] = ()
    #: One of PLACEMENTS.
    placement: str = "usual"
    collapses: tuple[Collapse, ...] = ()
    format_changes: tuple[FormatChange, ...] = ()
    #: Only what arrives in (since, until]; None: no bound.
    since: datetime | None = None
    until: datetime | None = None
    #: Customer id and seed of the world in one text, for ids.
    prefix: str = field(default="sim", repr=False)

    @property
    def end(self) -> datetime:
        """End of the last day."""
        return self.start + timedelta(days=self.days)


def checked(options: Options) -> Options:
    """The options, if a programme can be made of them.

    Raises:
        ConfigError: one cannot be used; the message says which and what would be right.
    """
    _within("--customers", options.customers, 1, MOST_CUSTOMERS)
    _within("--days", options.days, 1, MOST_DAYS)
    _within("--seed", options.seed, 0, 2**31)
    _within("--sends-per-week", options.sends_per_week, 0.0, 14.0)
    _within("--late-median", options.late_median_s, 0.0, 86_400.0)
    _within("--late-share", options.late_share, 0.0, 1.0)
    _within("--late-days", options.late_days, 1.0, 30.0)
    _within("--duplicates", options.duplicates, 0.0, 1.0)
    _one_of("--placement", options.placement, PLACEMENTS)
    for service in options.services:
        _one_of("--service", service, MAIL_SERVICES)
    for day in options.corrected_days:
        _within("--corrected-day", day, 0, options.days - 1)
    if not options.services:
        message = f"--service is empty; name one or more of {', '.join(MAIL_SERVICES)}."
        raise ConfigError(message)
    if options.since and options.until and options.since >= options.until:
        message = f"--since {options.since.isoformat()} is not before --until; nothing is left."
        raise ConfigError(message)
    return options


def span(
    start: str | None, days: int, end: str | None, now: datetime
) -> tuple[datetime, int, datetime]:
    """Midnight of day 0, number of days, and the last instant something may arrive.

    `start` and `end` as written (ISO 8601, UTC unless they say otherwise; `end` may be `now`).
    Without `start` the days end at `end`, the last one in the middle perhaps; with it, `end` only
    cuts off.

    >>> at = datetime(2026, 3, 4, 12, tzinfo=UTC)
    >>> span(None, 3, "now", at)[:2]
    (datetime.datetime(2026, 3, 1, 0, 0, tzinfo=datetime.timezone.utc), 4)

    Raises:
        ConfigError: one is no time, or the days are out of bounds.
    """
    _within("--days", days, 1, MOST_DAYS)
    last = now if end in {None, "now"} else instant("--end", end or "")
    if start is None:
        first = _midnight(last - timedelta(days=days))
        return first, -(-(last - first) // timedelta(days=1)), last
    return _midnight(instant("--start", start)), days, last


def _midnight(at: datetime) -> datetime:
    return at.replace(hour=0, minute=0, second=0, microsecond=0)


def instant(name: str, text: str) -> datetime:
    """A time as written (ISO 8601), in UTC unless it says otherwise.

    Raises:
        ConfigError: it is none; `name` is the option.
    """
    try:
        at = datetime.fromisoformat(text)
    except ValueError as exc:
        message = f"{name} {text!r} is no time; write it like 2026-03-01T00:00:00+00:00."
        raise ConfigError(message) from exc
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def collapse_from(text: str) -> Collapse:
    """A collapse as written: `PROVIDER[@DOMAIN]:FIRST_DAY:DAYS[:INBOX]`.

    >>> collapse_from("google:100:14").inbox
    0.05

    Raises:
        ConfigError: it is not of that form.
    """
    found = re.fullmatch(r"([a-z]+)(?:@([a-z.]+))?:(\d+):(\d+)(?::([0-9.]+))?", text)
    if found is None:
        message = f"--collapse {text!r} is not PROVIDER[@DOMAIN]:FIRST_DAY:DAYS[:INBOX_SHARE]."
        raise ConfigError(message)
    provider, domain, first, days, inbox = found.groups()
    _one_of("--collapse", provider, PROVIDERS)
    if domain is not None:
        _one_of("--collapse", domain, DOMAINS)
    share = _number("--collapse", inbox or "0.05")
    _within("--collapse inbox share", share, 0.001, 0.999)
    return Collapse(
        provider=provider, domain=domain, first_day=int(first), days=int(days), inbox=share
    )


def format_change_from(text: str) -> FormatChange:
    """A change of a service's payloads as written: `SERVICE:DAY:ACTION:PATH[=VALUE]`.

    >>> format_change_from("sendgrid:30:rename:sg_event_id=event_uid").value
    'event_uid'

    Raises:
        ConfigError: it is not of that form.
    """
    found = re.fullmatch(r"([a-z]+):(\d+):([a-z]+):([^=]+)(?:=(.*))?", text)
    if found is None:
        message = f"--format-change {text!r} is not SERVICE:DAY:ACTION:PATH[=VALUE]."
        raise ConfigError(message)
    service, day, action, path, value = found.groups()
    _one_of("--format-change", service, (*MAIL_SERVICES, "segment"))
    _one_of("--format-change", action, ("rename", "retype", "drop", "add"))
    if action != "drop" and value is None:
        message = f"--format-change {text!r}: {action} needs a value after the path: PATH=VALUE."
        raise ConfigError(message)
    if action == "retype":
        _one_of("--format-change", value or "", ("text", "number", "iso", "epoch_ms"))
    return FormatChange(service=service, day=int(day), action=action, path=path, value=value)


def _within(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        message = f"{name} has value {value}; use {low} to {high}."
        raise ConfigError(message)


def _one_of(name: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        message = f"{name}: {value!r} is not known; use one of {', '.join(known)}."
        raise ConfigError(message)


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError as exc:
        message = f"{name}: {text!r} is not a number."
        raise ConfigError(message) from exc
