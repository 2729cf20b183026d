"""Postmark: one event per request; credentials instead of a signature; nothing says "sent"."""

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
    number_of,
    same,
    single,
    without_missing,
)
from infra.simulator.payloads.shared_secret import credentials

_WORDS: Final = {
    EventType.DELIVERED: "Delivery",
    EventType.DEFERRED: "Bounce",
    EventType.BOUNCED: "Bounce",
    EventType.OPENED: "Open",
    EventType.CLICKED: "Click",
    EventType.COMPLAINED: "SpamComplaint",
    EventType.UNSUBSCRIBED: "SubscriptionChange",
}
_TIMES: Final = {
    EventType.DELIVERED: "DeliveredAt",
    EventType.OPENED: "ReceivedAt",
    EventType.CLICKED: "ReceivedAt",
    EventType.UNSUBSCRIBED: "ChangedAt",
}
_NUMBERED: Final = {EventType.BOUNCED, EventType.DEFERRED, EventType.COMPLAINED}
_PLACES: Final = {EventType.OPENED, EventType.CLICKED}


def encode(report: Report) -> Payload:
    """The event; times have seven digits after the point."""
    event = report.event
    at = event.event_time.strftime("%Y-%m-%dT%H:%M:%S.%f") + "0Z"
    payload = {
        "RecordType": _WORDS[event.type],
        "MessageStream": "broadcast",
        "MessageID": event.message_id,
        "Tag": event.campaign_id,
        "Metadata": {"customer_id": event.customer_id, "campaign_id": event.campaign_id},
        "From": f"hello@{event.sending_domain}",
        _TIMES.get(event.type, "BouncedAt"): at,
        "OriginalLink": event.url,
        "UserAgent": event.user_agent,
        "Geo": {"IP": event.ip} if event.type in _PLACES else None,
        "ID": number_of(event.event_id) if event.type in _NUMBERED else None,
        "Description": event.reason if event.type in _NUMBERED else None,
    }
    payload["Email" if event.type in _NUMBERED else "Recipient"] = report.address
    if event.type is EventType.DEFERRED:
        payload["Type"] = "Transient"
    if event.type is EventType.BOUNCED:
        payload["Type"] = "HardBounce" if event.bounce_class == "hard" else "SoftBounce"
    if event.type is EventType.UNSUBSCRIBED:
        payload |= {"SuppressSending": True, "SuppressionReason": "ManualSuppression"}
    return without_missing(payload)


def wrap(payloads: Sequence[Payload], secret: str | None, _now: datetime) -> Body:
    """One event, with the credentials it was given."""
    return single(payloads, JSON_HEADERS | credentials(secret))


ENCODER: Final = Encoder(name="postmark", kinds=same(*_WORDS), encode=encode, wrap=wrap)
