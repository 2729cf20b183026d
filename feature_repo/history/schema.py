"""Arrow schemas of the event log."""

from __future__ import annotations

from typing import Final

import pyarrow as pa

_UTC: Final = pa.timestamp("us", tz="UTC")

EVENTS: Final = pa.schema(
    [
        pa.field("event_id", pa.string(), nullable=False),
        pa.field("received_time", _UTC, nullable=False),
        pa.field("event_time", _UTC, nullable=False),
        pa.field("customer_id", pa.string(), nullable=False),
        pa.field("type", pa.string(), nullable=False),
        pa.field("op", pa.string(), nullable=False),
        pa.field("provider", pa.string(), nullable=False),
        pa.field("provider_event", pa.string()),
        pa.field("provider_emitted_time", _UTC),
        pa.field("campaign_id", pa.string()),
        pa.field("message_id", pa.string()),
        pa.field("sending_domain", pa.string()),
        pa.field("mailbox_provider", pa.string()),
        pa.field("country", pa.string()),
        pa.field("utc_offset_minutes", pa.int32()),
        pa.field("url", pa.string()),
        pa.field("link_id", pa.string()),
        pa.field("user_agent", pa.string()),
        pa.field("ip", pa.string()),
        pa.field("machine", pa.string(), nullable=False),
        pa.field("machine_source", pa.string()),
        pa.field("machine_score", pa.float64()),
        pa.field("bounce_class", pa.string()),
        pa.field("smtp_code", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("amount", pa.float64()),
        pa.field("currency", pa.string()),
        pa.field("backfilled", pa.bool_(), nullable=False),
        pa.field("raw_ref", pa.string()),
        pa.field("mapping_version", pa.string()),
        pa.field("schema_fingerprint", pa.string()),
    ]
)
"""Canonical events as a table: the fields of `feature_repo.event.Event`, all times in UTC."""

LOG: Final = pa.schema(
    [
        # First, because Delta keeps minimum and maximum only of the first 32 columns.
        pa.field("log_pos", pa.int64(), nullable=False),
        *EVENTS,
        pa.field("content_hash", pa.string(), nullable=False),
        pa.field("event_month", pa.string(), nullable=False),
    ]
)
"""What is stored: `log_pos` counts rows in the order they were appended, from 0, without gaps;
`content_hash` is equal for rows that say the same; `event_month` (2011-03) is the partition."""
