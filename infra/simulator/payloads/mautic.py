"""Mautic: an object of lists by kind; clicks are page hits; nothing says "delivered"."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from feature_repo.event import EventType
from infra.simulator.payloads.encoder import (
    JSON_HEADERS,
    Body,
    Encoder,
    Payload,
    Report,
    number_of,
    same,
    single,
)

_TRIGGERS: Final = {
    EventType.SENT: "mautic.email_on_send",
    EventType.OPENED: "mautic.email_on_open",
    EventType.CLICKED: "mautic.page_on_hit",
    EventType.UNSUBSCRIBED: "mautic.lead_channel_subscription_changed",
    EventType.BOUNCED: "mautic.lead_channel_subscription_changed",
}


def encode(report: Report) -> Payload:
    """A body with one entry; the time has a zone without colon."""
    event = report.event
    at = event.event_time.strftime("%Y-%m-%dT%H:%M:%S+00:00")
    contact = {
        "id": number_of(event.customer_id),
        "fields": {"core": {
            "email": {"alias": "email", "value": report.address},
            "customer_id": {"alias": "customer_id", "value": event.customer_id},
        }},
    }  # fmt: skip
    return {_TRIGGERS[event.type]: [_entry(report, at, contact) | {"timestamp": at}]}


def _entry(report: Report, at: str, contact: dict[str, Any]) -> dict[str, Any]:
    event = report.event
    email = {"id": event.campaign_id, "fromAddress": f"hello@{event.sending_domain}"}
    match event.type:
        case EventType.SENT:
            return {"email": email, "contact": contact, "dateSent": at, "idHash": event.message_id}
        case EventType.OPENED:
            number = number_of(event.message_id or "")
            opened = {
                "id": number, "emailAddress": report.address, "dateRead": at, "lastOpened": at,
                "openCount": number_of(event.event_id) % 1000, "trackingHash": event.message_id,
                "ipAddress": {"ipAddress": event.ip}, "lead": contact, "email": email,
            }  # fmt: skip
            return {"stat": opened}
        case EventType.CLICKED:
            hit = {
                "id": number_of(event.event_id), "dateHit": at, "url": event.url,
                "source": "email", "sourceId": event.campaign_id, "userAgent": event.user_agent,
                "ipAddress": {"ipAddress": event.ip}, "lead": contact,
            }  # fmt: skip
            return {"hit": hit}
        case _:
            status = "bounced" if event.type is EventType.BOUNCED else "unsubscribed"
            return {"contact": contact, "channel": "email", "old_status": "contactable",
                    "new_status": status}  # fmt: skip


def wrap(payloads: Sequence[Payload], secret: str | None, _now: datetime) -> Body:
    """The body, signed over its bytes."""
    body = single(payloads)
    if secret is None:
        return body
    digest = hmac.new(secret.encode(), body.content, hashlib.sha256).digest()
    signature = {"Webhook-Signature": base64.b64encode(digest).decode()}
    return Body(body.content, JSON_HEADERS | signature)


ENCODER: Final = Encoder(name="mautic", kinds=same(*_TRIGGERS), encode=encode, wrap=wrap)
