"""Customer.io: one event per request; HMAC over version, time and body."""

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
    own_id,
    same,
    single,
    without_missing,
)

_METRICS: Final = {
    EventType.SENT: "sent",
    EventType.DELIVERED: "delivered",
    EventType.DEFERRED: "deferred",
    EventType.BOUNCED: "bounced",
    EventType.REJECTED: "dropped",
    EventType.OPENED: "opened",
    EventType.CLICKED: "clicked",
    EventType.COMPLAINED: "spammed",
    EventType.UNSUBSCRIBED: "unsubscribed",
}


def encode(report: Report) -> Payload:
    """The event; the customer's id is the service's own field."""
    event = report.event
    data = {
        "customer_id": event.customer_id,
        "identifiers": {"id": event.customer_id},
        "recipient": report.address,
        "delivery_id": event.message_id,
        "campaign_id": event.campaign_id,
        "href": event.url,
        "link_id": event.link_id,
        "user_agent": event.user_agent,
        "ip": event.ip,
        "failure_message": event.reason,
    }
    return {
        "event_id": event.event_id,
        "object_type": "email",
        "metric": _METRICS[event.type],
        "timestamp": report.seconds,
        "data": without_missing(data),
    }


def wrap(payloads: Sequence[Payload], secret: str | None, now: datetime) -> Body:
    """One event, signed."""
    body = single(payloads)
    if secret is None:
        return body
    stamp = str(int(now.timestamp()))
    signature = hmac_hex(secret, b"v0:" + stamp.encode() + b":" + body.content, "sha256")
    signed = {"X-CIO-Timestamp": stamp, "X-CIO-Signature": signature}
    return Body(body.content, JSON_HEADERS | signed)


ENCODER: Final = Encoder(
    name="customerio",
    kinds=same(*_METRICS),
    encode=encode,
    wrap=wrap,
    event_id=own_id("customerio"),
)
