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
SEND_TIME: Final = "send_time"

VIEWS: Final[Mapping[str, tuple[str, ...]]] = {
    ACTIVITY: naming.ACTIVITY,
    CUSTOMER_DAILY: naming.CUSTOMER_DAILY,
    CUSTOMER_PROFILE: naming.CUSTOMER_PROFILE,
}
"""Columns of each stored view."""

STREAMED_VIEWS: Final = (ACTIVITY, CUSTOMER_PROFILE)
"""Views that the stream keeps up to the last event; the others change at midnights."""

TEXT_FEATURES: Final = naming.PROFILE_TEXT
"""Columns that hold text; every other one is Float64."""

TOTALS: Final = tuple(naming.total(measure.plural) for measure in naming.TOTALS)
"""Columns of `activity` that a model sees as they are stored."""

FEATURE_SERVICE: Final = "send_score_v1"

MODEL_FEATURES: Final = (
    *naming.CUSTOMER_DAILY,
    *naming.CUSTOMER_PROFILE,
    *TOTALS,
    *transforms.SEND_TIME,
)
"""What the feature service serves, in the order of a model's signature."""

ONLINE_COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    ACTIVITY: tuple(dict.fromkeys((*transforms.ACTIVITY_INPUTS, *TOTALS))),
    CUSTOMER_DAILY: naming.CUSTOMER_DAILY,
    CUSTOMER_PROFILE: naming.CUSTOMER_PROFILE,
}
"""Stored columns from which all MODEL_FEATURES can be computed, per view."""

REQUEST_COLUMN: Final = "send_at"
"""The one value a request must bring: epoch seconds, Float64."""
