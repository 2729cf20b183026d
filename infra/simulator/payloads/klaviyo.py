"""Klaviyo: up to a thousand events per request, each a document with its profile beside it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import orjson

from feature_repo.event import EventType
from infra.simulator.agents import APPLE_BARE
from infra.simulator.payloads.encoder import (
    JSON_HEADERS,
    Body,
    Encoder,
    Payload,
    Report,
    hmac_hex,
    iso,
    own_id,
    same,
    without_missing,
)

_TOPICS: Final = {
    EventType.DELIVERED: "event:klaviyo.received_email",
    EventType.BOUNCED: "event:klaviyo.bounced_email",
    EventType.REJECTED: "event:klaviyo.dropped_email",
    EventType.OPENED: "event:klaviyo.opened_email",
    EventType.CLICKED: "event:klaviyo.clicked_email",
    EventType.COMPLAINED: "event:klaviyo.marked_email_as_spam",
    EventType.UNSUBSCRIBED: "event:klaviyo.unsubscribed_from_email_marketing",
}


def encode(report: Report) -> Payload:
    """The event as an answer of Get Event."""
    event = report.event
    properties: Payload = {
        "$message": event.message_id,
        "campaign_id": event.campaign_id,
        "URL": event.url,
        "user_agent": event.user_agent,
        "ip": event.ip,
        "Bounce Type": event.bounce_class,
    }
    if event.type is EventType.OPENED:
        properties["Apple Privacy Open"] = event.user_agent == APPLE_BARE
    profile = {
        "email": report.address,
        "external_id": event.customer_id,
        "properties": {"customer_id": event.customer_id},
    }
    document = {
        "data": {
            "type": "event",
            "id": event.event_id,
            "attributes": {
                "timestamp": report.seconds,
                "datetime": event.event_time.strftime("%Y-%m-%d %H:%M:%S+00:00"),
                "event_properties": without_missing(properties),
            },
            "relationships": {"profile": {"data": {"type": "profile", "id": "01SIM"}}},
        },
        "included": [{"type": "profile", "id": "01SIM", "attributes": profile}],
    }
    return {
        "topic": _TOPICS[event.type],
        "external_id": event.event_id,
        "payload": document,
    }


def wrap(payloads: Sequence[Payload], secret: str | None, now: datetime) -> Body:
    """The events with the time of sending, signed."""
    stamp = iso(now)
    content = orjson.dumps({"data": list(payloads), "meta": {"timestamp": stamp}})
    if secret is None:
        return Body(content, JSON_HEADERS)
    signature = hmac_hex(secret, content + stamp.encode(), "sha256")
    signed = {"Klaviyo-Timestamp": stamp, "Klaviyo-Signature": signature}
    return Body(content, JSON_HEADERS | signed)


ENCODER: Final = Encoder(
    name="klaviyo",
    kinds=same(*_TOPICS),
    encode=encode,
    wrap=wrap,
    event_id=own_id("klaviyo"),
    most=1000,
)
