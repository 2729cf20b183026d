"""Brevo: one event per request, three times in three zones, and a word of its own for proxies."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

from feature_repo.event import EventType
from infra.simulator.agents import APPLE_BARE
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
    EventType.SENT: "request",
    EventType.DELIVERED: "delivered",
    EventType.DEFERRED: "deferred",
    EventType.BOUNCED: "soft_bounce",
    EventType.REJECTED: "blocked",
    EventType.OPENED: "opened",
    EventType.CLICKED: "click",
    EventType.COMPLAINED: "spam",
    EventType.UNSUBSCRIBED: "unsubscribed",
}
_PARIS: Final = ZoneInfo("Europe/Paris")


def encode(report: Report) -> Payload:
    """The event; `ts_epoch` is in milliseconds."""
    event = report.event
    word = _WORDS[event.type]
    if event.bounce_class == "hard":
        word = "hard_bounce"
    if event.type is EventType.OPENED and event.user_agent == APPLE_BARE:
        word = "proxy_open"
    payload = {
        "id": 4711,
        "event": word,
        "email": report.address,
        "date": event.event_time.astimezone(_PARIS).strftime("%Y-%m-%d %H:%M:%S"),
        "ts_event": report.seconds,
        "ts_epoch": report.seconds * 1000 + event.event_time.microsecond // 1000,
        "message-id": f"<{event.message_id}>",
        "sending_ip": f"192.0.2.{number_of(event.sending_domain or '') % 16}",
        "sender_email": f"hello@{event.sending_domain}",
        "tag": event.campaign_id,
        "tags": [event.campaign_id],
        "X-Mailin-custom": f"customer_id:{event.customer_id}|campaign_id:{event.campaign_id}",
        "link": event.url,
        "user_agent": event.user_agent,
        "ip": event.ip,
        "reason": event.reason,
    }
    return without_missing(payload)


def wrap(payloads: Sequence[Payload], secret: str | None, _now: datetime) -> Body:
    """One event, with the credentials it was given."""
    return single(payloads, JSON_HEADERS | credentials(secret))


ENCODER: Final = Encoder(
    name="brevo",
    kinds=same(*_WORDS),
    encode=encode,
    wrap=wrap,
)
