"""Which features a model sees, and which stored columns they need: the lists without Feast.

Serving and training order values by these; a test holds them equal to what the Feast objects say.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from feature_repo import naming, transforms

ENTITY: Final = "customer_id"
EVENT_TIMESTAMP: Final = "event_timestamp"
CREATED_TIMESTAMP: Final = "created_timestamp"

ACTIVITY: Final = "activity"
CUSTOMER_DAILY: Final = "customer_daily"
CUSTOMER_PROFILE: Final = "customer_profile"
CUSTOMER_PLACEMENT: Final = "customer_placement"
SEND_TIME: Final = "send_time"

VIEWS: Final[Mapping[str, tuple[str, ...]]] = {
    ACTIVITY: naming.ACTIVITY,
    CUSTOMER_DAILY: naming.CUSTOMER_DAILY,
    CUSTOMER_PROFILE: naming.CUSTOMER_PROFILE,
    CUSTOMER_PLACEMENT: naming.CUSTOMER_PLACEMENT,
}
"""Columns of each stored view of a customer."""

PLACEMENT: Final = "placement"
"""View of sending domains and mailbox providers; no model reads it."""

PLACEMENT_KEYS: Final = ("sending_domain", "mailbox_provider")

STREAMED_VIEWS: Final = (ACTIVITY, CUSTOMER_PROFILE)
"""Views that the stream keeps up to the last event; the others change at midnights."""

TEXT_FEATURES: Final = naming.PROFILE_TEXT
"""Columns that hold text; every other one is Float64."""

TOTALS: Final = tuple(naming.total(measure.plural) for measure in naming.TOTALS)
"""Columns of `activity` that a model sees as they are stored."""

FEATURE_SERVICE: Final = "send_score_v1"

_SEEN_IN_WINDOWS: Final = frozenset(
    naming.windowed(plural, days)
    for plural in ("opens", "clicks", "active_days")
    for days in naming.WINDOWS_DAYS
)
"""Plain windows run on the calendar, also while mail is not seen: people read them, models do not.
The decayed counters say the same on the exposure clock (see transforms.py)."""

MODEL_DAILY: Final = tuple(n for n in naming.CUSTOMER_DAILY if n not in _SEEN_IN_WINDOWS)
"""Columns of `customer_daily` that a model sees."""

MODEL_FEATURES: Final = (
    *MODEL_DAILY,
    *naming.CUSTOMER_PROFILE,
    *TOTALS,
    *transforms.SEND_TIME,
)
"""What a model sees, in the order of its signature."""

CONTEXT_FEATURES: Final = naming.CONTEXT
"""Served beside MODEL_FEATURES and never fed to a model: whether mail was seen."""

ONLINE_COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    ACTIVITY: tuple(dict.fromkeys((*transforms.ACTIVITY_INPUTS, *TOTALS))),
    CUSTOMER_DAILY: naming.CUSTOMER_DAILY,
    CUSTOMER_PROFILE: naming.CUSTOMER_PROFILE,
    CUSTOMER_PLACEMENT: naming.CUSTOMER_PLACEMENT,
}
"""Stored columns, per view, from which MODEL_FEATURES and CONTEXT_FEATURES can be computed, and
those that models of before asked for."""

REQUEST_COLUMN: Final = "send_at"
"""The one value a request must bring: epoch seconds, Float64."""
