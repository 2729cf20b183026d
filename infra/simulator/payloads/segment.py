"""Segment: what happens in the shop, one call per request; HMAC-SHA1 over the body."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from feature_repo.event import EventType
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
    single,
    without_missing,
)

_NAMES: Final = {
    EventType.BROWSED: "Product Viewed",
    EventType.PURCHASED: "Order Completed",
    EventType.REFUNDED: "Order Refunded",
    EventType.SUBSCRIBED: "Subscribed",
}


def encode(report: Report) -> Payload:
    """A track call."""
    event = report.event
    properties = {
        "order_id": event.event_id if event.amount is not None else None,
        "total": event.amount,
        "currency": event.currency,
        "url": event.url,
    }
    context = {"ip": event.ip, "userAgent": event.user_agent}
    return {
        "type": "track",
        "event": _NAMES[event.type],
        "messageId": event.event_id,
        "userId": event.customer_id,
        "timestamp": report.iso,
        "originalTimestamp": report.iso,
        "sentAt": iso(event.received_time),
        "properties": without_missing(properties),
        "context": without_missing(context),
    }


def wrap(payloads: Sequence[Payload], secret: str | None, _now: datetime) -> Body:
    """One call, signed."""
    body = single(payloads)
    if secret is None:
        return body
    signature = {"X-Signature": hmac_hex(secret, body.content, "sha1")}
    return Body(body.content, JSON_HEADERS | signature)


ENCODER: Final = Encoder(
    name="segment", kinds=same(*_NAMES), encode=encode, wrap=wrap, event_id=own_id("segment")
)
