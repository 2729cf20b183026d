"""Random histories of the log: late, tied, shuffled, corrected, moved and withdrawn events."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pyarrow as pa
from hypothesis import strategies as st

from feature_repo.history.schema import EVENTS, LOG

Row = dict[str, Any]

START: Final = datetime(2024, 2, 27, tzinfo=UTC)
THROUGH: Final = START + timedelta(days=480)

_LAGS: Final = (
    timedelta(0),
    timedelta(seconds=1, microseconds=1),
    timedelta(hours=5),
    timedelta(hours=48),
    timedelta(days=31),
    timedelta(days=100),
    timedelta(minutes=-4),
)
_CLOCK: Final = (timedelta(0), timedelta(hours=7), timedelta(hours=23, microseconds=999_999))


def row(event_id: str = "e", customer_id: str = "c", **changes: Any) -> Row:
    """A log row without a position: an open at START, known at once."""
    event_time = changes.get("event_time", START)
    good = {
        "event_id": event_id,
        "customer_id": customer_id,
        "event_time": event_time,
        "received_time": event_time,
        "type": "opened",
        "op": "upsert",
        "provider": "test",
        "machine": "none",
        "backfilled": False,
    }
    return dict.fromkeys(EVENTS.names) | good | changes


@st.composite
def rows(draw: st.DrawFn, events: int = 12, customers: int = 4) -> Row:
    """One log row; few event ids, so that corrections and ties are common."""
    days = draw(st.integers(0, 9)) if draw(st.booleans()) else draw(st.integers(0, 120))
    received = START + timedelta(days=days) + draw(st.sampled_from(_CLOCK))
    kind = draw(st.sampled_from(_KINDS))
    return row(
        f"e{draw(st.integers(0, events - 1))}",
        f"c{draw(st.integers(0, customers - 1))}",
        received_time=received,
        event_time=received - draw(st.sampled_from(_LAGS)),
        type=kind,
        op=draw(st.sampled_from(["upsert"] * 5 + ["retract"])),
        machine=draw(st.sampled_from(["none", "none", "gmail_proxy", "apple_mpp", "scanner"])),
        amount=draw(st.sampled_from(_AMOUNTS)) if kind in ("purchased", "refunded") else None,
        currency=draw(st.sampled_from([None, "GBP", "EUR"])),
        country=draw(st.sampled_from([None, None, "FR", "GB"])),
        mailbox_provider=draw(st.sampled_from([None, "google"])),
        utc_offset_minutes=draw(st.sampled_from([None, 0, 60, -300, 345])),
    )


_KINDS: Final = (
    *("sent", "opened", "clicked", "browsed", "purchased", "refunded", "bounced"),
    *("complained", "unsubscribed", "subscribed", "delivered", "unknown"),
)
_AMOUNTS: Final = (None, 0.0, 12.34, 0.1, 0.0000005, 0.0000025, 999_999_999.99)


def histories(size: int = 40) -> st.SearchStrategy[list[Row]]:
    """Rows of a log in the order of their positions."""
    return st.lists(rows(), min_size=1, max_size=size)


def corrected_never(history: Sequence[Row]) -> list[Row]:
    """The history with an event_id of its own for every row and nothing withdrawn."""
    return [
        entry | {"event_id": f"own{place}", "op": "upsert"} for place, entry in enumerate(history)
    ]


def log_table(history: Sequence[Row], first: int = 0) -> pa.Table:
    """The history as rows of the log."""
    filled = [
        entry
        | {
            "log_pos": first + place,
            "content_hash": str(place),
            "event_month": f"{entry['event_time']:%Y-%m}",
        }
        for place, entry in enumerate(history)
    ]
    return pa.Table.from_pylist(filled, schema=LOG)
