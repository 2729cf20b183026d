"""What is measured, over which memory, and how each feature is called: one grammar, one place.

`opens_d28` is a count that decays with a half-life of 28 days, `opens_30d` a plain 30-day window,
`opens_log2_d28` the stored state that `opens_d28` is read from, `opens_total` the lifetime count.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from feature_repo.event import EventType

HALF_LIVES_DAYS: Final = (7, 28, 112)
"""Memories of the decayed counters, in days. Seven is the shortest the exponent range allows for
events from 2000 on; the values avoid those of WINDOWS_DAYS, so no two names look alike."""

WINDOWS_DAYS: Final = (7, 30, 90, 365)
"""Widths of the daily windows, in whole UTC days."""

BLOCKS: Final = 6
"""Four-hour blocks of the local day, for send-time affinity."""

BLOCK_HALF_LIFE_DAYS: Final = 28


@dataclass(frozen=True, slots=True)
class Measure:
    """Something that is counted: `plural` names it in features, `kind` feeds it."""

    plural: str
    singular: str
    kind: EventType
    #: True: adds the event's amount instead of one.
    money: bool = False
    #: True: only events that a person made count.
    human: bool = False


MEASURES: Final = (
    Measure("sends", "send", EventType.SENT),
    Measure("opens", "open", EventType.OPENED, human=True),
    Measure("clicks", "click", EventType.CLICKED, human=True),
    Measure("browses", "browse", EventType.BROWSED),
    Measure("purchases", "purchase", EventType.PURCHASED),
    Measure("revenue", "revenue", EventType.PURCHASED, money=True),
)
"""Counted with decay and in windows."""

TOTALS: Final = (
    *MEASURES,
    Measure("refunds", "refund", EventType.REFUNDED),
    Measure("bounces", "bounce", EventType.BOUNCED),
    Measure("complaints", "complaint", EventType.COMPLAINED),
    Measure("unsubscribes", "unsubscribe", EventType.UNSUBSCRIBED),
)
"""Counted over a customer's whole life."""

LAST_AT: Final = tuple(measure for measure in TOTALS if not measure.money)
"""Measures whose newest event time is kept."""

ENGAGEMENT: Final = (EventType.OPENED, EventType.CLICKED, EventType.BROWSED, EventType.PURCHASED)
"""What a customer does, as opposed to what is done to them. Opens and clicks by persons only."""


def log2_state(plural: str, half_life_days: int) -> str:
    """Name of a stored decayed counter, e.g. `opens_log2_d28`."""
    return f"{plural}_log2_d{half_life_days}"


def decayed(plural: str, half_life_days: int) -> str:
    """Name of a decayed counter read at a time, e.g. `opens_d28`."""
    return f"{plural}_d{half_life_days}"


def windowed(plural: str, days: int) -> str:
    """Name of a plain window, e.g. `opens_30d`."""
    return f"{plural}_{days}d"


def total(plural: str) -> str:
    """Name of a lifetime count or sum, e.g. `opens_total`."""
    return f"{plural}_total"


def last_at(singular: str) -> str:
    """Name of the newest event time of a measure, in epoch seconds, e.g. `last_open_at`."""
    return f"last_{singular}_at"


def hours_since(singular: str) -> str:
    """Name of a recency in hours, e.g. `hours_since_last_open`."""
    return f"hours_since_last_{singular}"


def rate(of: str, per: str, half_life_days: int) -> str:
    """Name of a decayed share, e.g. `opens_per_sends_d28`."""
    return f"{of}_per_{per}_d{half_life_days}"


def trend(plural: str) -> str:
    """Name of the recent pace over the long-run pace of a measure, e.g. `opens_trend`."""
    return f"{plural}_trend"


def block_state(block: int) -> str:
    """Name of a local block's stored engagement, e.g. `engagement_block3_log2_d28`."""
    return f"engagement_block{block}_log2_d{BLOCK_HALF_LIFE_DAYS}"


ACTIVITY: Final = (
    *(log2_state(m.plural, h) for m in MEASURES for h in HALF_LIVES_DAYS),
    *(block_state(b) for b in range(BLOCKS)),
    *(last_at(m.singular) for m in LAST_AT),
    "first_event_at",
    "last_event_at",
    "first_purchase_at",
    *(total(m.plural) for m in TOTALS),
)
"""Columns of the `activity` view, all Float64; times are epoch seconds; null means never."""

CUSTOMER_DAILY: Final = (
    *(windowed(m.plural, w) for m in MEASURES for w in WINDOWS_DAYS),
    *(windowed("active_days", w) for w in WINDOWS_DAYS),
)
"""Columns of the `customer_daily` view, all Float64."""

PROFILE_TEXT: Final = ("country", "mailbox_provider", "currency")
PROFILE_NUMBERS: Final = ("utc_offset_minutes", "is_subscribed")
CUSTOMER_PROFILE: Final = (*PROFILE_TEXT, *PROFILE_NUMBERS)
"""Columns of the `customer_profile` view: texts as String, numbers as Float64."""

UNSEEN_SENDS: Final = "unseen_sends"
"""A decayed counter of mail that probably was not seen, see `history/placement_table.py`."""

CONTEXT: Final = ("p_inbox_28d", "ghost")
"""Placement as people read it: mean chance that the mail of the last 28 days was in the inbox, and
mean chance that the last five mails were not."""

UNSEEN_DAYS: Final = "unseen_days"
SEEN_THROUGH_AT: Final = "seen_through_at"

CUSTOMER_PLACEMENT: Final = (
    *CONTEXT,
    UNSEEN_DAYS,
    SEEN_THROUGH_AT,
    *(log2_state(UNSEEN_SENDS, h) for h in HALF_LIVES_DAYS),
)
"""Columns of the `customer_placement` view, all Float64; no row means that nothing is unseen."""

PLACEMENT_WINDOWS_DAYS: Final = (1, 7, 28)
"""Days of sending that a value of the `placement` view is about."""

PLACEMENT_RATES: Final = (
    *(f"seed_{place}_rate" for place in ("inbox", "tab", "spam", "missing")),
    "seed_n",
    "gpt_spam_rate",
    "gpt_reject_rate",
    "gpt_tempfail_rate",
    *(f"gpt_{kind}_rate" for kind in ("spf", "dkim", "dmarc")),
    "snds_filter_result",
    "snds_complaint_rate",
    "dmarc_pass_rate",
    *(f"{what}_rate" for what in ("bounce", "block", "deferral", "complaint", "unsubscribe")),
    *(f"{what}_index" for what in ("seen", "click", "canary")),
)
"""Values of the `placement` view that exist once per window; an index is 1.0 when as usual."""

PLACEMENT_SOURCES: Final = ("seed_list", "postmaster", "snds", "dmarc", "arf", "events")

PLACEMENT: Final = (
    *(windowed(name, w) for name in PLACEMENT_RATES for w in PLACEMENT_WINDOWS_DAYS),
    "delivered_1d",
    "volume_ratio",
    *("p_inbox", "p_inbox_lo", "p_inbox_hi", "is_impaired"),
    *(f"{source}_staleness_days" for source in PLACEMENT_SOURCES),
)
"""Columns of the `placement` view, all Float64."""
