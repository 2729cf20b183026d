"""The canonical event: the one domain type that crosses folders.

Two times, never mixed up: `event_time` is when it happened, `received_time` is when we first held
it. The log keeps events for ever; a later row with the same `event_id` corrects an earlier one
(`op=upsert`) or withdraws it (`op=retract`).
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final

MICROS: Final = 1_000_000
"""Money is counted in millionths of the currency unit, so that sums are exact in any order."""

EARLIEST: Final = datetime(2000, 1, 1, tzinfo=UTC)
"""No e-mail programme has usable events before this; older times are broken clocks or units."""

CLOCK_SKEW: Final = timedelta(minutes=5)
"""How far a foreign clock may be ahead of ours before its time is refused."""

LARGEST_AMOUNT: Final = 1e9


class Op(StrEnum):
    """What a log row does to its event."""

    UPSERT = "upsert"  #: states the event, or corrects an earlier row with the same event_id
    RETRACT = "retract"  #: withdraws the event


class EventType(StrEnum):
    """What happened, in our words; the provider's own word stays in `provider_event`."""

    QUEUED = "queued"
    SENT = "sent"
    DELIVERED = "delivered"
    DEFERRED = "deferred"
    BOUNCED = "bounced"
    REJECTED = "rejected"
    OPENED = "opened"
    CLICKED = "clicked"
    REPLIED = "replied"
    COMPLAINED = "complained"
    UNSUBSCRIBED = "unsubscribed"
    SUBSCRIBED = "subscribed"
    BROWSED = "browsed"
    PURCHASED = "purchased"
    REFUNDED = "refunded"
    UNKNOWN = "unknown"


class Machine(StrEnum):
    """Who opened or clicked, when it was not plainly a person."""

    NONE = "none"
    APPLE_MPP = "apple_mpp"  #: Apple Mail Privacy Protection fetches whatever is delivered
    GMAIL_PROXY = "gmail_proxy"  #: fetches when a person opens: a person, with masked address
    YAHOO_PROXY = "yahoo_proxy"  #: as gmail_proxy
    SCANNER = "scanner"  #: a security product
    GENERIC = "generic"  #: the provider says machine and no more


HUMAN_MACHINES: Final = (Machine.NONE, Machine.GMAIL_PROXY, Machine.YAHOO_PROXY)
"""A proxy of these kinds fetches at the moment a person opens; all others are not engagement."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that happened to one customer. Times are aware UTC."""

    #: Identity across corrections and provider retries; unique in a whole installation.
    event_id: str
    type: EventType
    customer_id: str
    #: When it happened, by the provider's clock.
    event_time: datetime
    #: When we first held it (knowledge time). Never taken from the provider.
    received_time: datetime
    op: Op = Op.UPSERT
    provider: str = "canonical"
    #: The provider's own word for `type`.
    provider_event: str | None = None
    #: When the provider says it sent the notification; measures retry lag, decides nothing.
    provider_emitted_time: datetime | None = None
    campaign_id: str | None = None
    #: Ties opens and clicks to the message that was sent.
    message_id: str | None = None
    sending_domain: str | None = None
    #: The family that runs the mailbox (google, microsoft, apple ...), not the address domain.
    mailbox_provider: str | None = None
    #: Country of the customer as the source writes it.
    country: str | None = None
    #: The customer's local time minus UTC when the event happened, in minutes.
    utc_offset_minutes: int | None = None
    url: str | None = None
    link_id: str | None = None
    user_agent: str | None = None
    ip: str | None = None
    machine: Machine = Machine.NONE
    #: Who says so: "provider" or the name of a rule.
    machine_source: str | None = None
    #: 0.0 surely a person to 1.0 surely a machine.
    machine_score: float | None = None
    bounce_class: str | None = None
    smtp_code: str | None = None
    reason: str | None = None
    #: In units of `currency`, never negative; what a refund gives back is positive too.
    amount: float | None = None
    currency: str | None = None
    #: True when the received_time was declared at import instead of observed.
    backfilled: bool = False
    #: Where the untouched source bytes are, as `file#row` or a key of the raw store.
    raw_ref: str | None = None
    mapping_version: str | None = None
    schema_fingerprint: str | None = None


CONTENT_FIELDS: Final = tuple(
    f.name
    for f in fields(Event)
    if f.name
    not in {
        "received_time",
        "provider_emitted_time",
        "backfilled",
        "raw_ref",
        "mapping_version",
        "schema_fingerprint",
    }
)
"""What an event says, without how and when it reached us. Two rows alike in these say the same
thing; the log keeps the first (history/log.py computes the hash)."""


def amount_micros(amount: float | None) -> int | None:
    """Amount in millionths, rounded half to even.

    >>> amount_micros(12.34)
    12340000
    """
    return None if amount is None else round(amount * MICROS)


def check_times(event_time: datetime, received_time: datetime) -> str | None:
    """Why these times are impossible, or None when they are fine."""
    if event_time < EARLIEST:
        return f"event_time {event_time.isoformat()} is before {EARLIEST.date()}"
    if event_time > received_time + CLOCK_SKEW:
        return (
            f"event_time {event_time.isoformat()} is after received_time "
            f"{received_time.isoformat()}"
        )
    return None


def check_amount(amount: float | None) -> str | None:
    """Why this amount is impossible, or None when it is fine."""
    if amount is None:
        return None
    if not math.isfinite(amount):
        return f"amount {amount} is not a finite number"
    if amount < 0:
        return f"amount {amount} is negative; a refund is type 'refunded' with a positive amount"
    if amount > LARGEST_AMOUNT:
        return f"amount {amount} is above {LARGEST_AMOUNT:.0f}"
    return None


def deterministic_id(provider: str, *parts: object) -> str:
    """Event id for a source that has none: equal parts give the equal id, in any process.

    >>> deterministic_id("shop", "order-1", None) == deterministic_id("shop", "order-1", None)
    True
    """
    texts = (None if part is None else str(part) for part in (provider, *parts))
    # Lengths keep parts apart. SHA-256, because imports compute the same in DuckDB.
    joined = "".join("-:" if text is None else f"{len(text)}:{text}" for text in texts)
    return hashlib.sha256(joined.encode()).hexdigest()[:32]
