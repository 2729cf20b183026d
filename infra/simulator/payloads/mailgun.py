"""Mailgun: one event per request, with a signature beside it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from feature_repo.event import EventType
from infra.simulator.agents import APPLE_BARE, GMAIL
from infra.simulator.payloads.encoder import (
    Body,
    Encoder,
    Payload,
    Report,
    hmac_hex,
    same,
    single,
    without_missing,
)

_WORDS: Final = {
    EventType.SENT: "accepted",
    EventType.DELIVERED: "delivered",
    EventType.DEFERRED: "failed",
    EventType.BOUNCED: "failed",
    EventType.REJECTED: "rejected",
    EventType.OPENED: "opened",
    EventType.CLICKED: "clicked",
    EventType.COMPLAINED: "complained",
    EventType.UNSUBSCRIBED: "unsubscribed",
}
_BOTS: Final = {APPLE_BARE: "apple", GMAIL: "gmail"}


def encode(report: Report) -> Payload:
    """The event, as it is under `event-data`."""
    event = report.event
    payload = {
        "id": event.event_id,
        "event": _WORDS[event.type],
        "timestamp": event.event_time.timestamp(),
        "recipient": report.address,
        "recipient-domain": report.address.rpartition("@")[2],
        "tags": [event.campaign_id],
        "user-variables": {"customer_id": event.customer_id, "campaign_id": event.campaign_id},
        "message": {"headers": {"message-id": event.message_id,
                                "from": f"hello@{event.sending_domain}"}},
        "domain": {"name": event.sending_domain},
        "url": event.url,
        "ip": event.ip,
    }  # fmt: skip
    if event.type in {EventType.OPENED, EventType.CLICKED}:
        bot = _BOTS.get(event.user_agent or "", "")
        payload["client-info"] = {"client-type": "browser", "user-agent": event.user_agent,
                                  "bot": bot}  # fmt: skip
    if event.type in {EventType.DEFERRED, EventType.BOUNCED}:
        permanent = event.type is EventType.BOUNCED
        payload["severity"] = "permanent" if permanent else "temporary"
        payload["reason"] = "bounce" if permanent else "generic"
        payload["delivery-status"] = {"code": event.smtp_code, "message": event.reason}
    if event.type is EventType.REJECTED:
        payload["reject"] = {"reason": event.reason}
    return without_missing(payload)


def wrap(payloads: Sequence[Payload], secret: str | None, now: datetime) -> Body:
    """The event with a signature that is made anew at every try."""
    (payload,) = payloads
    stamp, token = str(int(now.timestamp())), f"{payload['id']:0>50}"[-50:]
    signature = "" if secret is None else hmac_hex(secret, (stamp + token).encode(), "sha256")
    signed = {"timestamp": stamp, "token": token, "signature": signature}
    return single([{"signature": signed, "event-data": payload}])


ENCODER: Final = Encoder(
    name="mailgun",
    kinds=same(*_WORDS),
    encode=encode,
    wrap=wrap,
    event_id=lambda event: f"mailgun:{event.event_time:%Y-%m-%d}:{event.event_id}",
)
