"""Mandrill: a form with an array of events; HMAC-SHA1 over the address and the form."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence
from datetime import datetime
from typing import Final
from urllib.parse import urlencode

import orjson

from feature_repo.event import EventType
from infra.simulator.payloads.encoder import (
    Body,
    Encoder,
    Payload,
    Report,
    same,
    without_missing,
)

_WORDS: Final = {
    EventType.SENT: "send",
    EventType.DELIVERED: "delivered",
    EventType.DEFERRED: "deferral",
    EventType.BOUNCED: "soft_bounce",
    EventType.REJECTED: "reject",
    EventType.OPENED: "open",
    EventType.CLICKED: "click",
    EventType.COMPLAINED: "spam",
    EventType.UNSUBSCRIBED: "unsub",
}


def encode(report: Report) -> Payload:
    """The event; `_id` is that of the message."""
    event = report.event
    message = {
        "_id": event.message_id,
        "email": report.address,
        "sender": f"hello@{event.sending_domain}",
        "metadata": {"customer_id": event.customer_id, "campaign_id": event.campaign_id},
        "tags": [event.campaign_id],
        "diag": event.reason,
    }
    payload = {
        "event": "hard_bounce" if event.bounce_class == "hard" else _WORDS[event.type],
        "ts": report.seconds,
        "_id": event.message_id,
        "msg": without_missing(message),
        "url": event.url,
        "user_agent": event.user_agent,
        "ip": event.ip,
    }
    return without_missing(payload)


def wrap(payloads: Sequence[Payload], secret: str | None, _now: datetime) -> Body:
    """The form; `secret` is `KEY URL`, as the address is signed too."""
    events = orjson.dumps(list(payloads)).decode()
    content = urlencode({"mandrill_events": events}).encode()
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    if secret is None:
        return Body(content, headers)
    key, _, url = secret.partition(" ")
    signed = f"{url}mandrill_events{events}".encode()
    digest = hmac.new(key.encode(), signed, hashlib.sha1).digest()
    return Body(content, headers | {"X-Mandrill-Signature": base64.b64encode(digest).decode()})


ENCODER: Final = Encoder(name="mandrill", kinds=same(*_WORDS), encode=encode, wrap=wrap, most=1000)
